#include "kernels.hpp"
#include "sampling/resample.hpp"
#include "sampling/upsample.hpp"
#include "sampling/warp.hpp"

namespace {

// A mapping, with a displacement or without.
lightcrcf::Mapping mapping(const lightcrcf::tests::Grid& grid, lightcrcf::tests::Arrays& a, bool displaced) {
  lightcrcf::Mapping result{};
  std::memcpy(result.matrix, a.in<double>(12).data, sizeof result.matrix);
  std::memcpy(result.field_matrix, a.in<double>(12).data, sizeof result.field_matrix);
  std::memcpy(result.vector_matrix, a.in(9).data, sizeof result.vector_matrix);
  if (displaced) result.field = a.in(3, grid.h, grid.d, grid.w);
  return result;
}

}  // namespace

KERNEL(warp, a.in(2, d, h, w), a.in(3, d, h, w), a.out(2, d, h, w))
KERNEL(warp_upsampled, a.in(2, d, h, w), a.in(3, (d + 1) / 2, (h + 1) / 2, (w + 1) / 2), a.out(2, d, h, w))
KERNEL(compose, a.in(3, d, h, w), a.in(3, d, h, w), a.out(3, d, h, w))
KERNEL(upsample, a.in(3, d, h, w), a.out(3, 2 * d, 2 * h - 1, 2 * w - 1))
KERNEL(upsample, a.in(3, d, h, w), a.out(3, 2 * d - 1, 2 * h, 2 * w))
KERNEL(resample_linear, a.in(d, w, h), mapping(grid, a, true), 0.5f, a.out(d, h, w))
KERNEL(resample_linear, a.in(d, w, h), mapping(grid, a, false), 0.5f, a.out(d, h, w))
KERNEL(resample_cubic, a.in(d, w, h), mapping(grid, a, true), 0.5f, a.out(d, h, w))
KERNEL(resample_nearest8, a.integers<uint8_t>(0, 9, d, w, h), mapping(grid, a, true), 1, a.out<uint8_t>(d, h, w))
KERNEL(resample_nearest16, a.integers<uint16_t>(0, 9, d, w, h), mapping(grid, a, true), 1, a.out<uint16_t>(d, h, w))
KERNEL(resample_nearest32, a.integers<uint32_t>(0, 9, d, w, h), mapping(grid, a, true), 1, a.out<uint32_t>(d, h, w))
KERNEL(resample_nearest64, a.integers<uint64_t>(0, 9, d, w, h), mapping(grid, a, true), 1, a.out<uint64_t>(d, h, w))
