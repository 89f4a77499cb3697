#include "registration/refine.hpp"

#include <chrono>

#include "registration/folds.hpp"

namespace lightcrcf {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool same_directions(const Level& a, const Level& b) {
  return std::equal(a.candidates.begin(), a.candidates.end(), b.candidates.begin(), b.candidates.end(),
                    [](const CandidateKind& x, const CandidateKind& y) { return x.backward == y.backward; });
}

// Return whether the candidates of level n are merged: they go on while the next level has the same directions.
bool merges_after(const std::vector<Level>& schedule, size_t n) {
  if (schedule[n].candidates.size() < 2) return false;
  return n + 1 == schedule.size() || !same_directions(schedule[n], schedule[n + 1]);
}

// Take the field that was found or the start, objectives before and after, and how many voxels fold.
void keep_better(FieldArray start, Candidates& candidates, Refinement& result) {
  const bool given = start.size() > 0;
  const int64_t folded_before = given ? count_folds(start) : 0;
  FieldArray& field = candidates.field();
  const FoldRepair repair = smooth_folds(field, folded_before);
  Objective& objective = candidates.objective();
  result.objective_before = objective.evaluate(start);
  result.objective_after = repair.changed ? objective.evaluate(field) : candidates.value();
  result.folded = repair.folded;
  if (result.objective_after < result.objective_before || repair.folded > folded_before) {
    result.objective_after = result.objective_before;
    result.folded = folded_before;
    if (given) {
      field = std::move(start);
    } else {
      fill_values(0.0f, field.size(), field.data());
    }
  }
  result.displacement = std::move(field);
}

}  // namespace

Refinement refine(const std::vector<Images>& pairs, const std::vector<Level>& schedule, const Pool& pool,
                  const Start& start, const Watch& watch) {
  Refinement result{};
  Candidates candidates(pairs, pool, start, schedule[0].scale, watch);
  for (size_t n = 0; n < schedule.size(); ++n) {
    const double began = now();
    result.steps.push_back(candidates.ascend(schedule[n]));
    if (merges_after(schedule, n)) candidates.merge(schedule[n]);
    result.seconds.push_back(now() - began);
    watch.after("level");
  }
  FieldArray given;
  if (start.displacement.data != nullptr) {
    given = resample_half(start.displacement, candidates.scale(), shape_of(pairs[0].fixed), pool);
  }
  keep_better(std::move(given), candidates, result);
  result.merge_accepted = candidates.merge_accepted();
  result.template_accepted = candidates.template_accepted();
  return result;
}

}  // namespace lightcrcf
