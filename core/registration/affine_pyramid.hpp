// Image pyramids for affine alignment: levels with sample weights and validity.
#pragma once

#include <vector>

#include "registration/affine_level.hpp"
#include "registration/affine_search.hpp"

namespace lightcrcf {

// An image to align at the finest resolution; the arrays are (D, H, W).
struct AffineSource {
  ConstVolume image;   // background at zero, the bright end of the tissue at one
  ConstVolume tissue;  // 1 in tissue that may be used, else 0
  ConstVolume usable;  // 1 where voxels may be used, else 0
  Matrix4 to_mm;
  bool outline;        // whether background and outlines are compared too
  int64_t edge;        // as in LevelView
  bool blank_outside;
};

// An image at one resolution that owns its arrays.
struct AffineLevel {
  VolumeArray image, foreground, samples, valid;
  Matrix4 to_mm;
  int64_t edge;
  bool blank_outside;

  // Return the volume of the foreground.
  double litres() const;

  // Return the centroid of the foreground.
  Vector3 centroid_mm() const;

  AffineImage view() const;
  AffineLevel normalised() const;
};

// Return three levels, the coarsest first, each at about half the resolution of the next.
std::vector<AffineLevel> build_levels(const AffineSource& source);

// Both images at all levels, and views of them.
struct PairLevels {
  std::vector<AffineLevel> fixed, moving;  // coarse, middle, fine, middle and fine normalised locally
  AffinePyramid views() const;
};
PairLevels build_pair_levels(const AffineSource& fixed, const AffineSource& moving);

}  // namespace lightcrcf
