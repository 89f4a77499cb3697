// Means over cubes.
#pragma once

#include <cstdint>

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Return the mean over cubes of 2 * radius + 1 voxels, zeros outside, one axis after the other; self-adjoint.
//
// images, out: (C, D, H, W); out is overwritten. Each sum is of the values of the cube alone, in order: what is far away
// leaves no rounding errors behind, and NaN and infinities stay within their cubes.
LIGHTCRCF_KERNEL(void, window_mean, (ConstField images, int64_t radius, Field out))

}  // namespace lightcrcf
