// Deformable registration by optimisation, from coarse to fine, from a network's field or from the identity.
//
// This is the loop over the levels of a schedule; ascent.hpp holds the update rule at one level, objective.hpp what is
// maximised, candidates.hpp what several starts become.
#pragma once

#include <optional>
#include <vector>

#include "registration/candidates.hpp"

namespace lightcrcf {

// Result of a refinement. Objectives are at the finest scale.
struct Refinement {
  FieldArray displacement;  // (3, D, H, W) at the finest scale that was run, in voxels of its grid
  double objective_before, objective_after;
  std::vector<int64_t> steps;             // at each level, of all candidates together
  std::vector<double> seconds;            // at each level
  int64_t folded;                         // voxels whose Jacobian determinant is not positive
  std::optional<bool> merge_accepted;     // whether a merged field went on; none with one candidate
  std::optional<bool> template_accepted;  // whether the template's field was merged too; none without one
};

// Improve the alignment of pairs of images by one field.
//
// pairs: all on one grid, of unit range; the first one leads. schedule: at least one level, of scales 8, 4, 2 or 1 from
// coarse to fine; with a start, the last one is 2 or 1.
// Returns a field that is never worse than the start by its own objective, nor folds in more voxels.
Refinement refine(const std::vector<Images>& pairs, const std::vector<Level>& schedule, const Pool& pool,
                  const Start& start, const Watch& watch);

}  // namespace lightcrcf
