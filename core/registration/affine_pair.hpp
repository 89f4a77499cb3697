// Pairs of images that an affine alignment compares.
#pragma once

#include <vector>

#include "base/view.hpp"
#include "registration/affine_matrix.hpp"

namespace lightcrcf {

// One image at one resolution. The arrays are (D, H, W).
struct AffineImage {
  ConstVolume image;    // background at zero
  ConstVolume samples;  // weight of each voxel as a sample of this image
  ConstVolume valid;    // 1 where samples of another image may read this one
  Matrix4 to_mm, to_voxels;
  bool blank_outside;        // whether points outside of the grid count as background, rather than as unknown
  double litres;             // volume of the foreground
  double litres_per_weight;  // volume per unit of sample weight
};

// Two images, and what their samples are compared with: the other image, or, across contrasts, the other image with its
// intensities mapped.
struct AffinePair {
  AffineImage fixed, moving;
  AffineImage read_by_fixed, read_by_moving;
  double weight;  // of this pair among all; they sum to 1
};

// All pairs at one resolution, and the foreground of the first fixed image.
struct AffinePairs {
  std::vector<AffinePair> pairs;
  Vector3 centroid_mm;
  double radius_mm;  // of the ball of the foreground's volume
};

// Overlap as a fraction of the smaller foreground: the least one, and the least without reduced correlations.
constexpr double kLeastOverlap = 0.1, kFullOverlap = 0.5;

}  // namespace lightcrcf
