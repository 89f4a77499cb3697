#include "kernels.hpp"
#include "network/bfloat16.hpp"
#include "network/convolution.hpp"
#include "network/features.hpp"

namespace {

using lightcrcf::tests::Arrays;
using lightcrcf::tests::Grid;

constexpr int64_t kPool[] = {2, 1, 2}, kOnes[] = {1, 1, 1};

// Channels one behind the other, at a distance of `size` values, whose addresses belong to `a` (as integers of their size).
template <typename T>
lightcrcf::Channels<T> channels(const T* first, int64_t size, int64_t count, const Grid& grid, Arrays& a) {
  const auto addresses = a.integers<int64_t>(0, 1, count);
  const T** data = reinterpret_cast<const T**>(const_cast<int64_t*>(addresses.data));
  for (int64_t c = 0; c < count; ++c) data[c] = first + c * size;
  return {data, count, {grid.d, grid.h, grid.w}};
}

lightcrcf::Channels<float> source(int64_t count, const Grid& grid, Arrays& a) {
  return channels<float>(a.in(count, grid.d, grid.h, grid.w).data, grid.d * grid.h * grid.w, count, grid, a);
}

lightcrcf::Weights<float> weights(int64_t inputs, int64_t taps, int64_t outputs, Arrays& a) {
  const int64_t padded = lightcrcf::padded_outputs(outputs);
  return {a.in(padded * inputs * taps).data, a.in(padded).data, 0.1f, outputs};
}

// Pairs of channels in bfloat16: of any bits, or for a result.
lightcrcf::Pairs<const int32_t> pairs(int64_t count, const Grid& grid, Arrays& a) {
  lightcrcf::Pairs<const int32_t> made{nullptr, count, {grid.d, grid.h, grid.w}};
  made.data = a.integers<int32_t>(INT32_MIN, INT32_MAX, count * made.size() + made.kSlack).data;
  return made;
}

lightcrcf::Pairs<int32_t> result(int64_t count, const Grid& grid, Arrays& a) {
  lightcrcf::Pairs<int32_t> made{nullptr, count, {grid.d, grid.h, grid.w}};
  made.data = a.out<int32_t>(count * made.size() + made.kSlack).data;
  return made;
}

lightcrcf::Channels<int32_t> pair_source(int64_t count, const Grid& grid, Arrays& a) {
  const auto made = pairs(count, grid, a);
  return channels<int32_t>(made.data, made.size(), count, grid, a);
}

lightcrcf::Weights<int32_t> pair_weights(int64_t inputs, int64_t outputs, Arrays& a) {
  const int64_t padded = lightcrcf::padded_outputs(outputs);
  return {a.integers<int32_t>(INT32_MIN, INT32_MAX, padded * inputs * 27).data, a.in(padded).data, 0.1f, outputs};
}

// The grid of every second voxel along axes of `kPool`, and of twice as many.
Grid half(const Grid& grid) { return {(grid.d + 1) / 2, grid.h, (grid.w + 1) / 2}; }
Grid twice(const Grid& grid) { return {2 * grid.d, grid.h, 2 * grid.w}; }

}  // namespace

KERNEL(convolve, source(3, grid, a), weights(3, 54, 5, a), a.in(5, d, h, w), a.out(5, d, h, w))
KERNEL(convolve, source(2, grid, a), weights(2, 54, 16, a), a.in(0, d, h, w), a.out(16, d, h, w))
KERNEL(convolve_strided, source(3, grid, a), weights(3, 27, 5, a), kPool, a.out(5, (d + 1) / 2, h, (w + 1) / 2))
KERNEL(convolve_strided, source(1, grid, a), weights(1, 27, 9, a), kOnes, a.out(9, d, h, w))
KERNEL(space_to_depth, a.in(2 * d, h, 2 * w), kPool, a.out(4, d, h, w))
KERNEL(depth_to_space, a.in(4, d, h, w), kPool, a.out(2 * d, h, 2 * w))
KERNEL(average_pool, a.in(2 * d, h, 2 * w), kPool, a.out(d, h, w))
KERNEL(repeat, a.in(2, d, h, w), kPool, a.out(2, 2 * d, h, 2 * w))
KERNEL(correlate, a.in(3, d, h, w), a.in(3, d, h, w), a.out(27, d, h, w))
KERNEL(to_channels_last, a.in(11, d, h, w), a.out(2, d, h, w, 8))
KERNEL(warp_channels_last, a.in(2, d, h, w, 8), a.in(3, d, h, w), a.out(11, d, h, w))
BFLOAT16_KERNEL(convolve_bfloat16, pair_source(3, grid, a), pair_weights(3, 5, a), result(4, grid, a))
BFLOAT16_KERNEL(convolve_strided_bfloat16, pair_source(3, grid, a), pair_weights(3, 9, a), kPool, result(6, half(grid), a))
BFLOAT16_KERNEL(convolve_flow_bfloat16, pair_source(3, grid, a), pair_weights(3, 3, a), a.out(3, d, h, w))
BFLOAT16_KERNEL(space_to_depth_bfloat16, a.in(2 * d, h, 2 * w), kPool, result(2, grid, a))
BFLOAT16_KERNEL(repeat_bfloat16, pairs(3, grid, a), kPool, result(3, twice(grid), a))
BFLOAT16_KERNEL(correlate_bfloat16, pairs(3, grid, a), pairs(3, grid, a), 5, result(14, grid, a))
BFLOAT16_KERNEL(to_channels_last_bfloat16, pairs(5, grid, a), a.out<int32_t>(2, d, h, w, 4))
BFLOAT16_KERNEL(warp_channels_last_bfloat16, a.integers<int32_t>(INT32_MIN, INT32_MAX, 2, d, h, w, 4), a.in(3, d, h, w), result(5, grid, a))
BFLOAT16_KERNEL(pack_bfloat16, a.in(5, d, h, w), result(3, grid, a))
