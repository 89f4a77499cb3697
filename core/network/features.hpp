// What happens to features between convolutions, in float32. Features are (C, D, H, W).
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

constexpr int64_t kBlock = 8;  // channels of a block in channels-last layout

// out[(a q + b) r + c](x) = image(pool x + (a, b, c)), for pool = (p, q, r), each 1 or 2.
//
// image: (D, H, W); out: (p q r, D / p, H / q, W / r).
LIGHTCRCF_KERNEL(void, space_to_depth, (ConstVolume image, const int64_t (&pool)[3], Field out))

// The inverse of `space_to_depth`. blocks: (p q r, D, H, W); out: (p D, q H, r W).
LIGHTCRCF_KERNEL(void, depth_to_space, (ConstField blocks, const int64_t (&pool)[3], Volume out))

// out(x) = mean of image over the block of `pool` voxels at pool x. image: (D, H, W); out: (D / p, H / q, W / r).
LIGHTCRCF_KERNEL(void, average_pool, (ConstVolume image, const int64_t (&pool)[3], Volume out))

// out(x) = features(floor(x / pool)). features: (C, d, h, w); out: (C, D, H, W) with d >= D / p, ...
LIGHTCRCF_KERNEL(void, repeat, (ConstField features, const int64_t (&pool)[3], Field out))

// out[n](x) = mean over c of fixed[c](x) warped[c](x + d), 0 outside, for the n-th of the 27 offsets d in C order.
//
// fixed, warped: (C, D, H, W); out: (27, D, H, W).
LIGHTCRCF_KERNEL(void, correlate, (ConstField fixed, ConstField warped, Field out))

// Convert features (C, D, H, W) to channels-last layout, blocked by 8: (ceil(C / 8), D, H, W, 8), zero after channel C.
LIGHTCRCF_KERNEL(void, to_channels_last, (ConstField features, View<float, 5> out))

// Return features(x + u(x)), trilinear, clamped at the borders, as `warp` of sampling/warp.hpp does. A few vector loads
// take all channels of a voxel's neighbours.
//
// features: (ceil(C / 8), D, H, W, 8); displacement u: (3, D, H, W) voxels; out: (C, D, H, W).
LIGHTCRCF_KERNEL(void, warp_channels_last, (View<const float, 5> features, ConstField displacement, Field out))

}  // namespace lightcrcf
