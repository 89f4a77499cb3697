// Repair of folds of a displacement field: voxels at which the determinant of its Jacobian is not positive.
#pragma once

#include "registration/array.hpp"

namespace lightcrcf {

// Return the number of voxels at which a field, (3, D, H, W) voxels, folds.
int64_t count_folds(const ConstField& field);

// What a repair did.
struct FoldRepair {
  int64_t folded;  // voxels that still fold
  bool changed;
};

// Smooth a field around its folds, in a growing neighbourhood, until no more than `allowed` voxels fold. Upsampling can
// fold a voxel; so few must not cost the whole refinement.
//
// field: (3, D, H, W) voxels, changed in place.
FoldRepair smooth_folds(const Field& field, int64_t allowed);

// Take a step back wherever it is about to fold: halfway at first, then all the way and further around. Where `field` is
// no better the step stays: smoothing undoes the folds of a start.
//
// candidate: (3, D, H, W) voxels, the field after the step, changed in place; field: before the step; determinants:
// (D, H, W), overwritten. Returns whether the candidate folds in no more voxels than `field`.
bool repair_folds(const Field& candidate, const ConstField& field, const Volume& determinants);

}  // namespace lightcrcf
