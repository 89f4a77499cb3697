// Multi-start search for an alignment of images of one contrast, by global and then local correlation.
#pragma once

#include <cstddef>
#include <vector>

#include "registration/affine_fit.hpp"

namespace lightcrcf {

// Weight of the strain prior against 1 - correlation squared: a stretch of 10 % along one axis costs 0.0005.
constexpr double kStrainPrior = 0.05;
// Starts of each kind (upright, turned) that are refined at the coarse and at the middle level.
constexpr size_t kCoarseStarts = 6, kMiddleStarts = 3;

// All pairs at three resolutions, the coarsest first, and the last two locally normalised.
struct AffinePyramid {
  AffinePairs coarse, middle, fine, local_middle, local_fine;
};

// The alignment from one of the starts.
struct FoundAffine {
  size_t start;
  AffineFit fit;
  double middle_cost;  // at the middle level before the last steps
  double similarity;   // local correlation at the finest level
};

// Return the indices of the best of each group of equal alignments, by ascending cost.
std::vector<size_t> distinct_fits(const std::vector<AffineFit>& fits, const Vector3& centroid_mm, double radius_mm);

// Find the best alignment from at least one start.
//
// The starts of highest correlation are refined at the coarse level, the best few at the middle level, where local
// correlation selects one. The last steps weight samples by local agreement. freedom: as in FitOptions.
FoundAffine search_affine(const AffinePyramid& images, const std::vector<Matrix4>& starts, int freedom);

}  // namespace lightcrcf
