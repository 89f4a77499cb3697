// Pairs of images that a refinement compares, and their block means at a level.
#pragma once

#include <optional>
#include <utility>

#include "registration/array.hpp"
#include "registration/resolution.hpp"

namespace lightcrcf {

// Noise of one image of a pair.
struct ImageNoise {
  double variance;  // at the image's own resolution, in squared units of the fixed image
  double size;      // volume of its own voxels, in voxels of full working resolution
  double unit;      // factor from `variance` to that on the working grid in squared units of the image
};

struct Noise {
  ImageNoise fixed, moving;

  // Return the variance of the difference of both images' means over so many voxels of full resolution.
  double at(double voxels) const;

  // Return the variances of each image's means over so many voxels, in its own units.
  std::array<double, 2> each_at(double voxels) const;
};

// A pair of images on one grid, with what is known of them. Masks are 0 where voxels do not count, and have no data where
// all count.
struct Images {
  ConstVolume fixed, moving;  // (D, H, W) at full resolution, unit range
  ConstVolume fixed_mask, moving_mask;
  std::optional<Noise> noise;
  std::array<bool, 2> masked;  // whether everything outside of each image's anatomy was set to 0
  double share;                // weight of this pair among all; they sum to 1

  // Return the pair with the moving image fixed.
  Images swapped() const;
};

// An image at a level, and the weights of its voxels; these have no data where all count.
struct ScaledImage {
  Image image, weight;
};

// Return an image and its mask as means of blocks of voxels; only voxels that count are in the image's.
//
// Around what counts the image goes on as the mean of what is near, so that nothing that does not count is blended in
// between voxels.
ScaledImage scale_image(const ConstVolume& image, const ConstVolume& mask, const Pool& blocks);

// Return both images. Voxels that a mask set to 0 have `background` times their weight.
std::pair<ScaledImage, ScaledImage> scale_images(const Images& images, const Pool& blocks, double background);

}  // namespace lightcrcf
