#include "registration/candidates.hpp"

#include <cmath>

#include "fields/inverse.hpp"
#include "refinement/smooth.hpp"
#include "registration/folds.hpp"
#include "registration/gaussian.hpp"
#include "sampling/warp.hpp"

namespace lightcrcf {
namespace {

constexpr double kMergeSigma = 1.5;        // voxels, applied twice
constexpr float kMergeTemperature = 0.2f;  // difference of similarities that decides
constexpr double kMinTemplateRatio = 0.9;  // template fields that help left .91 and more of the similarity
constexpr Accuracy kInversion{30, 1e-3};   // steps from each start, and voxels
constexpr int64_t kMostMerged = 2 * kMostCandidates;

FieldArray inverse_of(const ConstField& field) {
  FieldArray out = make_field(3, shape_of(field));
  lightcrcf::invert(field, kInversion, out);
  return out;
}

// similarity = the local similarity of all pairs under a field, by their shares.
void similarity_under(const ConstField& field, const Objective& objective, const Volume& similarity) {
  const VolumeArray moved = make_volume(shape_of(field)), of_pair = make_volume(shape_of(field));
  fill_values(0.0f, similarity.size(), similarity.data);
  for (const auto& pair : objective.pairs()) {
    lightcrcf::warp(as_field(pair->images().moving()), field, as_field(moved.view()));
    pair->local_similarity(moved, of_pair);
    const auto share = static_cast<float>(pair->share());
    const float* addend = of_pair.data();
    for_parts(similarity.size(), [=](int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) similarity.data[n] += share * addend[n];
    });
  }
}

// Fields to merge. Those given several times have one similarity.
class Merge {
 public:
  explicit Merge(const std::vector<ConstField>& fields) : fields_(fields) {
    for (const ConstField& field : fields) {
      const auto same = [&](const ConstField& other) { return other.data == field.data; };
      const auto found = std::find_if(distinct_.begin(), distinct_.end(), same);
      rows_.push_back(found - distinct_.begin());
      if (found == distinct_.end()) distinct_.push_back(field);
    }
  }

  // Compute the smoothed similarities.
  void compare(const Objective& objective) {
    const Array<float, 2> taps = gaussian_taps(kMergeSigma);
    const auto count = static_cast<int64_t>(distinct_.size());
    similarity_ = make_field(count, shape_of(fields_[0]));
    for (int64_t n = 0; n < count; ++n) similarity_under(distinct_[n], objective, similarity_.view()[n]);
    const FieldArray smoothed = make_field(count, shape_of(fields_[0]));
    lightcrcf::smooth(similarity_, taps, smoothed);
    lightcrcf::smooth(smoothed, taps, similarity_);
  }

  FieldArray average() const {
    FieldArray out = make_field(3, shape_of(fields_[0]));
    const Field to = out;
    for_parts(to[0].size(), [this, to](int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) average_at(n, to);
    });
    return out;
  }

 private:
  void average_at(int64_t n, const Field& out) const {
    const int64_t size = out[0].size();
    const size_t count = fields_.size();
    float weight[kMostMerged], most = similarity_.data()[n], total = 0.0f;
    for (size_t m = 0; m < count; ++m) {
      weight[m] = similarity_.data()[rows_[m] * size + n];
      most = std::max(most, weight[m]);
    }
    for (size_t m = 0; m < count; ++m) {
      // In float64 the result does not depend on the library.
      weight[m] = static_cast<float>(std::exp(static_cast<double>((weight[m] - most) / kMergeTemperature)));
      total += weight[m];
    }
    for (size_t m = 0; m < count; ++m) weight[m] /= total;
    for (int64_t c = 0; c < 3; ++c) {
      float sum = 0.0f;
      for (size_t m = 0; m < count; ++m) sum += weight[m] * fields_[m].data[c * size + n];
      out.data[c * size + n] = sum;
    }
  }

  const std::vector<ConstField>& fields_;
  std::vector<ConstField> distinct_;
  std::vector<int64_t> rows_;  // of each field among the similarities
  FieldArray similarity_;
};

bool any_backward(const Level& level) {
  return std::any_of(level.candidates.begin(), level.candidates.end(), [](const auto& kind) { return kind.backward; });
}

}  // namespace

bool is_below_ratio(double ratio, double reference, double objective) {
  return ratio > 0 && objective < (reference > 0 ? ratio * reference : reference / ratio);
}

FieldArray merge_by_local_similarity(const Objective& objective, const std::vector<ConstField>& fields) {
  Merge merge(fields);
  merge.compare(objective);
  return merge.average();
}

Merged add_template(Objective& objective, const std::vector<ConstField>& fields, const ConstField& template_field) {
  FieldArray merged = merge_by_local_similarity(objective, fields);
  if (template_field.data == nullptr) return {std::move(merged), std::nullopt};
  std::vector<ConstField> all = fields;
  all.insert(all.end(), fields.size(), template_field);
  FieldArray both = merge_by_local_similarity(objective, all);
  const double without = objective.evaluate(merged), with = objective.evaluate(both);
  if (is_below_ratio(kMinTemplateRatio, without, with)) return {std::move(merged), false};
  return {std::move(both), true};
}

Candidates::Candidates(const std::vector<Images>& pairs, const Pool& pool, const Start& start, int64_t first_scale,
                       const Watch& watch)
    : pairs_(pairs), pool_(pool), shape_(shape_of(pairs[0].fixed)), template_field_(start.template_field),
      scale_(first_scale), watch_(watch) {
  for (const Images& pair : pairs) swapped_.push_back(pair.swapped());
  if (start.displacement.data != nullptr) {
    scale_ = std::max<int64_t>(first_scale, 2);
    fields_.push_back(resample_half(start.displacement, scale_, shape_, pool));
    return;
  }
  fields_.push_back(make_field(3, coarse_shape(shape_, first_scale, pool)));
  fill_values(0.0f, fields_[0].size(), fields_[0].data());
}

// Start candidates from the first field, if there are more than before.
void Candidates::add_missing(const Level& level) {
  if (fields_.size() >= level.candidates.size()) return;
  std::vector<FieldArray> fields;
  for (const CandidateKind& kind : level.candidates) {
    fields.push_back(kind.backward ? inverse_of(fields_[0]) : copy_of(fields_[0]));
    watch_.after("start");
  }
  fields_ = std::move(fields);
}

int64_t Candidates::ascend(const Level& level) {
  solver_.reset();
  add_missing(level);
  for (FieldArray& field : fields_) field = upsample_to(std::move(field), scale_, level.scale, shape_, pool_);
  scale_ = level.scale;
  solver_ = std::make_unique<LevelSolver>(pairs_, level, pool_, watch_);
  std::unique_ptr<LevelSolver> backward;
  if (any_backward(level)) backward = std::make_unique<LevelSolver>(swapped_, level, pool_, watch_);
  int64_t steps = 0;
  values_.clear();
  for (size_t n = 0; n < fields_.size(); ++n) {
    const CandidateKind& kind = level.candidates[n];
    Ascent found = (kind.backward ? *backward : *solver_).ascend(std::move(fields_[n]), kind);
    fields_[n] = std::move(found.field);
    values_.push_back(found.objective);
    steps += found.steps;
  }
  judge_merge(level);
  return steps;
}

// Replace the merged field by the best candidate if it is below `min_merge_ratio` of that.
void Candidates::judge_merge(const Level& level) {
  if (best_.size() > 0 && is_below_ratio(level.min_merge_ratio, best_value_, values_[0])) {
    fields_.clear();
    fields_.push_back(upsample_to(std::move(best_), best_scale_, scale_, shape_, pool_));
    values_ = {best_value_};
    merge_accepted_ = false;
  }
  best_ = FieldArray();
}

void Candidates::merge(const Level& level) {
  for (size_t n = 0; n < fields_.size(); ++n) {
    if (!level.candidates[n].backward) continue;
    fields_[n] = inverse_of(fields_[n]);
    values_[n] = objective().evaluate(fields_[n]);
  }
  FieldArray template_field;
  if (template_field_.data != nullptr) template_field = resample_half(template_field_, scale_, shape_, pool_);
  const std::vector<ConstField> views(fields_.begin(), fields_.end());
  Merged merged = add_template(objective(), views, template_field);
  const auto best = std::max_element(values_.begin(), values_.end()) - values_.begin();
  best_ = std::move(fields_[best]);
  best_value_ = values_[best];
  best_scale_ = scale_;
  merge_accepted_ = true;
  template_accepted_ = merged.template_accepted;
  fields_.clear();
  fields_.push_back(std::move(merged.field));
  smooth_folds(fields_[0], 0);
  values_ = {objective().evaluate(fields_[0])};
}

}  // namespace lightcrcf
