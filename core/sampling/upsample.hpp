// Displacement fields on the grid of twice the resolution.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Return 2 * coarse((x - 0.5) / 2), trilinear, clamped at the borders.
//
// coarse: (3, d, h, w) voxels of its grid; out: (3, D, H, W) voxels of the fine grid, at most (2 d, 2 h, 2 w), overwritten.
LIGHTCRCF_KERNEL(void, upsample, (ConstField coarse, Field out))

}  // namespace lightcrcf
