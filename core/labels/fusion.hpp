// Label fusion: local weights of atlases, and weighted voting.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Radii of patches in voxels: (2 depth + 1) x (2 height + 1) x (2 width + 1) voxels, cut at the borders.
struct PatchRadii {
  int64_t depth, height, width;
};

// out = weights of atlases from the similarity of their patches to those of the target.
//
// With z the patches about a voxel, each brought to zero mean and unit variance, atlas a errs by e_a = z_t - z_a, and
// M_ab = mean(e_a e_b). Joint weights are w = M^-1 1 / (1^T M^-1 1) after half of the mean of the diagonal is added to it,
// without those that would be negative; otherwise w_a = 1 / M_aa, scaled to sum to one.
//
// images: (N + 1, D, H, W) of about unit range, the target last; places: (D, H, W), the row of each voxel in `out`, below
// 0 for none; out: (rows, N), the rows of `places` are overwritten. Return whether all places are rows; others are left
// out.
LIGHTCRCF_KERNEL(bool, atlas_weights,
                 (ConstField images, View<const int32_t, 3> places, PatchRadii radii, bool joint, View<float, 2> out))

// What atlases vote with: labels (N, D, H, W) in [0, labels_end), and weights (rows, N) of voxels in `places` (D, H, W),
// which is below 0 where all atlases agree. A neighbour along an axis has its weight times neighbour_weights (3,).
struct Votes {
  View<const int16_t, 4> labels;
  View<const int32_t, 3> places;
  View<const float, 2> weights;
  View<const float, 1> neighbour_weights;
  int64_t labels_end;
};

// found = the label with the largest sum of weights over the 3 x 3 x 3 voxels about each voxel, share = its share.
//
// found, share: (D, H, W), overwritten. Ties go to the label that comes first, at the voxel itself and then by atlas.
// Return whether all labels and places are in range; others do not count.
LIGHTCRCF_KERNEL(bool, vote, (const Votes& votes, View<int16_t, 3> found, Volume share))

}  // namespace lightcrcf
