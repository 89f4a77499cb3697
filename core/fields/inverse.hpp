// Displacement fields at arbitrary points, and their inverses.
//
// The map is y -> y + u(y), in voxels of u's grid, float64, with u trilinear, and continued beyond its border as it is
// there.
#pragma once

#include <cstdint>

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

using Points = View<double, 2>;
using ConstPoints = View<const double, 2>;

// When the search for y with y + u(y) = x ends: after so many steps from a start, or at an error of `tolerance` voxels.
struct Accuracy {
  int64_t iterations;
  double tolerance;
};

// Return u at continuous voxel indices (N, 3), zero outside as in ITK. u: (3, D, H, W) voxels; out: (N, 3) voxels.
LIGHTCRCF_KERNEL(void, displacement_at, (ConstField u, ConstPoints points, Points out))

// Return the points y with y + u(y) = x, for points x (N, 3). u: (3, D, H, W) voxels; out: (N, 3).
LIGHTCRCF_KERNEL(void, invert_at, (ConstField u, ConstPoints points, Accuracy accuracy, Points out))

// Return the inverse v: x + v(x) + u(x + v(x)) = x at every voxel. u and out: (3, D, H, W) voxels.
LIGHTCRCF_KERNEL(void, invert, (ConstField u, Accuracy accuracy, Field out))

}  // namespace lightcrcf
