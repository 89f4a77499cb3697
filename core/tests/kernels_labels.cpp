#include "kernels.hpp"
#include "labels/fractions.hpp"
#include "labels/fusion.hpp"

namespace {

// Votes of three atlases; `rows` of the weights are in range.
lightcrcf::Votes votes(const lightcrcf::tests::Grid& grid, lightcrcf::tests::Arrays& a, int64_t rows) {
  const int64_t d = grid.d, h = grid.h, w = grid.w;
  return {a.integers<int16_t>(0, rows, 3, d, h, w), a.integers<int32_t>(-2, rows, d, h, w), a.in(5, 3), a.in(3), 5};
}

}  // namespace

KERNEL(label_fractions, a.integers<int32_t>(-2, 6, d, h, w), a.out(4, d, h, w))
KERNEL(label_fractions, a.integers<int32_t>(-2, 6, 2 * d, h, 3 * w), a.out(4, d, h, w))
KERNEL(atlas_weights, a.in(4, d, h, w), a.rows(d, h, w), lightcrcf::PatchRadii{1, 2, 3}, true, a.out(d * h * w, 3))
KERNEL(atlas_weights, a.in(8, d, h, w), a.rows(d, h, w), lightcrcf::PatchRadii{9, 0, 0}, false, a.out(d * h * w / 2, 7))
KERNEL(atlas_weights, a.in(2, d, h, w), a.integers<int32_t>(-9, 0, d, h, w), lightcrcf::PatchRadii{1, 1, 1}, true, a.out(0, 1))
KERNEL(vote, votes(grid, a, 5), a.out<int16_t>(d, h, w), a.out(d, h, w))
KERNEL(vote, votes(grid, a, 9), a.out<int16_t>(d, h, w), a.out(d, h, w))
