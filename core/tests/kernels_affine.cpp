#include "affine/block_mean.hpp"
#include "affine/correlation.hpp"
#include "affine/histogram.hpp"
#include "affine/normal_equations.hpp"
#include "kernels.hpp"

namespace {

// The images of an alignment, on grids of two shapes.
lightcrcf::Alignment images(const lightcrcf::tests::Grid& grid, lightcrcf::tests::Arrays& a, bool blank_outside) {
  const int64_t d = grid.d, h = grid.h, w = grid.w;
  return {a.in(d, h, w), a.in(d, h, w), a.in(h, d, w), a.in(h, d, w), blank_outside};
}

}  // namespace

KERNEL(block_mean, a.in(d, h, w), lightcrcf::BlockShape{1, 2, 3}, a.out(d, (h + 1) / 2, (w + 2) / 3))
KERNEL(block_mean, a.in(d, h, w), lightcrcf::BlockShape{2, 1, 2}, a.out((d + 1) / 2, h, (w + 1) / 2))
KERNEL(block_mean, a.in(d, h, w), lightcrcf::BlockShape{d, h, 1}, a.out(1, 1, w))
KERNEL(normal_equations, images(grid, a, true), a.in<double>(3, 4), a.out<double>(15, 15))
KERNEL(normal_equations, images(grid, a, false), a.in<double>(3, 4), a.out<double>(15, 15))
KERNEL(fisher_sums, images(grid, a, true), a.in<double>(3, 4), a.in<double>(5, 5), 1.5, a.out<double>(15, 15))
KERNEL(correlation_sums, images(grid, a, false), a.in<double>(67, 3, 4), a.out<double>(67, 6))
KERNEL(joint_histogram, images(grid, a, true), a.in<double>(3, 4), 1.5, a.out<double>(5, 5))
KERNEL(joint_histogram, images(grid, a, true), a.in<double>(3, 4), 0.0, a.out<double>(2, 2))
KERNEL(interpolate_table, a.in(d * h * w * 40), a.in<double>(7), 1.0, a.out(d * h * w * 40))
