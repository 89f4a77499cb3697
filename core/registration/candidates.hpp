// Candidate fields of a multi-start refinement: kept from level to level, and merged by local similarity.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "registration/ascent.hpp"

namespace lightcrcf {

// What a refinement starts from: displacements of half resolution, (3, d, h, w); without data there is none.
struct Start {
  ConstField displacement;    // without: the identity
  ConstField template_field;  // by way of a template: one more candidate
};

// Return whether an objective is below a ratio of a reference; of negative ones, as far below zero. Ratio 0: never.
bool is_below_ratio(double ratio, double reference, double objective);

// Return the average of fields, each (3, D, H, W) voxels, with weights of a softmax of the local similarity that each
// gives at a voxel. At most 2 * kMostCandidates; a field may be given several times.
FieldArray merge_by_local_similarity(const Objective& objective, const std::vector<ConstField>& fields);

// Merge candidates, and a template's field with the weight of all of them unless it lowers the similarity.
struct Merged {
  FieldArray field;
  std::optional<bool> template_accepted;  // none without a template
};
Merged add_template(Objective& objective, const std::vector<ConstField>& fields, const ConstField& template_field);

// Fields of all candidates on their way from level to level, and what became of them.
class Candidates {
 public:
  // The pairs, the start and the watch are used as long as this is.
  Candidates(const std::vector<Images>& pairs, const Pool& pool, const Start& start, int64_t first_scale,
             const Watch& watch);

  // Refine all candidates at a level. Return the number of steps of all.
  int64_t ascend(const Level& level);

  // Merge all candidates into one field, and the template's field if it helps.
  void merge(const Level& level);

  FieldArray& field() { return fields_[0]; }
  double value() const { return values_[0]; }  // the objective of the first field
  int64_t scale() const { return scale_; }
  Objective& objective() { return solver_->objective(); }  // of the forward direction at the last level
  std::optional<bool> merge_accepted() const { return merge_accepted_; }
  std::optional<bool> template_accepted() const { return template_accepted_; }

 private:
  void add_missing(const Level& level);
  void judge_merge(const Level& level);

  const std::vector<Images>& pairs_;
  std::vector<Images> swapped_;
  Pool pool_;
  Shape shape_;
  ConstField template_field_;
  int64_t scale_;
  const Watch& watch_;
  std::vector<FieldArray> fields_;
  std::vector<double> values_;  // of each field, in the direction of its candidate
  std::unique_ptr<LevelSolver> solver_;
  std::optional<bool> merge_accepted_, template_accepted_;
  FieldArray best_;  // the best single candidate, until a merge is judged, its objective and its scale
  double best_value_ = 0.0;
  int64_t best_scale_ = 0;
};

}  // namespace lightcrcf
