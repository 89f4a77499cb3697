// The images of an affine alignment.
#pragma once

#include "base/view.hpp"

namespace lightcrcf {

// A sample is a fixed voxel x with f = fixed(x), m = moving(q), trilinear, at q = matrix [x, 1], and
// weight w = weight(x) valid(q), nearest voxel. `fixed` and `weight` share a grid, and so do `moving` and `valid`.
// A point is inside as in ITK: within [-0.5, n - 0.5) along each axis. Outside m = 0, and w = weight(x) if
// `blank_outside`, else w = 0.
struct Alignment {
  ConstVolume fixed, weight, moving, valid;
  bool blank_outside;
};

// Affine matrices are (3, 4) float64, row-major, from fixed voxels to moving voxels.
using Matrix = View<const double, 2>;

}  // namespace lightcrcf
