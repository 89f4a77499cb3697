// Local normalisation of images, and weights of their samples.
#pragma once

#include "base/view.hpp"
#include "registration/affine_pair.hpp"
#include "registration/array.hpp"

namespace lightcrcf {

// One image at one resolution, with its foreground; the arrays are (D, H, W).
struct LevelView {
  ConstVolume image, foreground, samples, valid;
  int64_t edge;        // voxels at the edge of the foreground that local normalisation excludes
  bool blank_outside;  // whether points outside of the grid count as background, rather than as unknown
};

// Results of `normalise_locally`, overwritten.
struct NormalisedLevel {
  Volume image, samples, valid;
};

// Subtract the local mean of each voxel, and divide by the local standard deviation.
//
// The correlation of two such images approximates their local correlation at the cost of a global one, since affines hardly
// rotate or stretch the windows. Samples at the edge of the foreground are excluded, and samples whose windows reach
// unknown voxels, since the windows of the other image hold more there.
void normalise_locally(const LevelView& level, const NormalisedLevel& out);

// Weight each sample of an image by the local correlation around it with another one, a robust estimate: anatomy that no
// affine can match (a bent neck, a lesion, a missing organ) weighs less.
//
// matrix: (3, 4) from voxels of the image to those of the other; out: as samples, overwritten.
void weight_by_agreement(const ConstVolume& image, const ConstVolume& samples, const ConstVolume& other,
                         const double* matrix, const Volume& out);

// Pairs whose samples are weighted.
struct WeightedPairs {
  AffinePairs pairs;
  std::vector<VolumeArray> samples;
};

// Weight the samples of all images by the agreement under `matrix`.
WeightedPairs weight_by_agreement(const AffinePairs& pairs, const Matrix4& matrix);

}  // namespace lightcrcf
