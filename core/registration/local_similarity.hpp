// The similarity of two images around each voxel.
#pragma once

#include "registration/array.hpp"

namespace lightcrcf {

// Constants for images of unit range.
constexpr float kCorrelationFloor = 1e-6f;  // added to products of variances: flat windows are uncorrelated
constexpr float kExplainedRidge = 1e-4f;    // on the diagonal of covariance matrices; larger values were worse
constexpr float kExplainedFloor = 1e-5f;    // added to variances: flat windows count as unexplained

// Compute cov(f, m)^2 / (var(f) var(m) + floor) over cubes of 2 * radius + 1 voxels, zeros outside; in [0, 1].
//
// fixed, moved, out: (D, H, W); out is overwritten.
void squared_local_correlation(const ConstVolume& fixed, const ConstVolume& moved, int64_t radius, float floor,
                               const Volume& out);

// Compute the share of the local variance of `moved` that 1, f and f^2 of the fixed image explain; see explained.hpp.
void locally_explained(const ConstVolume& fixed, const ConstVolume& moved, int64_t radius, const Volume& out);

// Compute the local standard deviations of two images under a Gaussian, of which the largest becomes 1: edges and texture
// of either sign.
//
// masks: of each, 0 where voxels do not count, or without data: what they take out has none, and neither has its edge.
std::array<VolumeArray, 2> local_deviations(const std::array<ConstVolume, 2>& images,
                                            const std::array<ConstVolume, 2>& masks, double sigma);

}  // namespace lightcrcf
