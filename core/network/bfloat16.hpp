// The network in bfloat16, for processors with AVX512-BF16.
//
// A pair is an int32 with two bfloat16 values, of channels 2 p and 2 p + 1, the first in its lower half. The processor adds
// the products of 16 pairs and 16 others to 16 float32 sums in one instruction. Rounding is to nearest, ties to even.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"
#include "network/channels.hpp"

namespace lightcrcf {

// Features as pairs of channels with a margin of zeros around each plane, so that tiles of accumulators run across the
// ends of rows without copies. `kSlack` more pairs after the last one may be read.
template <typename T>
struct Pairs {
  T* data;
  int64_t count;  // pairs of channels
  int64_t shape[3];

  static constexpr int64_t kSlack = 128;
  static constexpr int64_t kLeastRow = 8;  // what vectors write after a plane stays within two rows of margins

  [[gnu::always_inline]] int64_t row() const { return shape[2] + 2 > kLeastRow ? shape[2] + 2 : kLeastRow; }
  [[gnu::always_inline]] int64_t plane() const { return (shape[1] + 2) * row(); }
  [[gnu::always_inline]] int64_t size() const { return (shape[0] + 2) * plane(); }
  // Return the address of voxel (i, j, 0) of pair p.
  [[gnu::always_inline]] T* at(int64_t p, int64_t i, int64_t j) const {
    return data + p * size() + (i + 1) * plane() + (j + 1) * row() + 1;
  }
};

// The convolutions of convolution.hpp, direct. source: addresses of pairs with their margins; weights of a group:
// (pairs, 27, outputs).
LIGHTCRCF_BFLOAT16_KERNEL(void, convolve_bfloat16,
                          (const Channels<int32_t>& source, const Weights<int32_t>& weights, Pairs<int32_t> out))
LIGHTCRCF_BFLOAT16_KERNEL(void, convolve_strided_bfloat16,
                          (const Channels<int32_t>& source, const Weights<int32_t>& weights,
                           const int64_t (&stride)[3], Pairs<int32_t> out))

// The same with a result (O, D, H, W) in float32, at most four channels, without leaky ReLU.
LIGHTCRCF_BFLOAT16_KERNEL(void, convolve_flow_bfloat16,
                          (const Channels<int32_t>& source, const Weights<int32_t>& weights, Field out))

// The kernels of features.hpp. Channels-last features: (ceil(pairs / 4), D, H, W, 4) pairs.
LIGHTCRCF_BFLOAT16_KERNEL(void, space_to_depth_bfloat16,
                          (ConstVolume image, const int64_t (&pool)[3], Pairs<int32_t> out))
LIGHTCRCF_BFLOAT16_KERNEL(void, repeat_bfloat16,
                          (Pairs<const int32_t> features, const int64_t (&pool)[3], Pairs<int32_t> out))
LIGHTCRCF_BFLOAT16_KERNEL(void, correlate_bfloat16,
                          (Pairs<const int32_t> fixed, Pairs<const int32_t> warped, int64_t channels,
                           Pairs<int32_t> out))
LIGHTCRCF_BFLOAT16_KERNEL(void, to_channels_last_bfloat16, (Pairs<const int32_t> features, View<int32_t, 5> out))
LIGHTCRCF_BFLOAT16_KERNEL(void, warp_channels_last_bfloat16,
                          (View<const int32_t, 5> features, ConstField displacement, Pairs<int32_t> out))

// Round (C, D, H, W) to ceil(C / 2) pairs.
LIGHTCRCF_BFLOAT16_KERNEL(void, pack_bfloat16, (ConstField values, Pairs<int32_t> out))

}  // namespace lightcrcf
