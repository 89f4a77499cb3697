// Warping and composition of displacement fields.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Return features(x + u(x)), trilinear, clamped at the borders.
//
// features: (C, D, H, W); displacement u: (3, D, H, W) voxels; out: (C, D, H, W), overwritten.
LIGHTCRCF_KERNEL(void, warp, (ConstField features, ConstField displacement, Field out))

// Return features(x + u(x)) with u = 2 * coarse((x - 0.5) / 2), see `upsample`, without that field in memory.
//
// features, out: (C, D, H, W); coarse: (3, d, h, w) voxels of its grid, with D <= 2 d, and so on.
LIGHTCRCF_KERNEL(void, warp_upsampled, (ConstField features, ConstField coarse, Field out))

// Return (u o v)(x) = v(x) + u(x + v(x)); all (3, D, H, W) voxels, u clamped at the borders; out is neither u nor v.
LIGHTCRCF_KERNEL(void, compose, (ConstField u, ConstField v, Field out))

}  // namespace lightcrcf
