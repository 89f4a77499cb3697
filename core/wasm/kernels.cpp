// Kernels for JavaScript. Each is the kernel of the same name, whose header says what it computes; `grid` is (D, H, W).
#include <algorithm>
#include <iterator>

#include "affine/block_mean.hpp"
#include "affine/correlation.hpp"
#include "affine/normal_equations.hpp"
#include "fields/window_mean.hpp"
#include "refinement/correlation.hpp"
#include "refinement/smooth.hpp"
#include "refinement/step.hpp"
#include "sampling/resample.hpp"
#include "sampling/upsample.hpp"
#include "sampling/warp.hpp"
#include "wasm/export.hpp"

using namespace lightcrcf;
using wasm::field;
using wasm::view;

// features, out: (C, D, H, W), of these sizes.
LIGHTCRCF_EXPORT void lightcrcf_warp(const float* features, const float* displacement, const int32_t* sizes, float* out) {
  warp(view<4>(features, sizes), field(displacement, sizes + 1), view<4>(out, sizes));
}

LIGHTCRCF_EXPORT void lightcrcf_compose(const float* u, const float* v, const int32_t* grid, float* out) {
  compose(field(u, grid), field(v, grid), field(out, grid));
}

LIGHTCRCF_EXPORT void lightcrcf_upsample(const float* coarse, const int32_t* coarse_grid, const int32_t* grid, float* out) {
  upsample(field(coarse, coarse_grid), field(out, grid));
}

// matrix: (3, 4) from voxels of `out` to those of `moving`; outside the result is 0.
LIGHTCRCF_EXPORT void lightcrcf_resample(const float* moving, const int32_t* moving_grid, const double* matrix,
                                         const int32_t* grid, float* out) {
  Mapping mapping{};
  std::copy_n(matrix, std::size(mapping.matrix), mapping.matrix);
  resample_linear(view<3>(moving, moving_grid), mapping, 0.0f, view<3>(out, grid));
}

// values, out: (C, D, H, W), of these sizes; taps: (3, radius + 1).
LIGHTCRCF_EXPORT void lightcrcf_smooth(const float* values, const int32_t* sizes, const float* taps, int32_t radius,
                                       float* out) {
  smooth(view<4>(values, sizes), View<const float, 2>{taps, {3, radius + 1}}, view<4>(out, sizes));
}

LIGHTCRCF_EXPORT void lightcrcf_window_mean(const float* images, const int32_t* sizes, int32_t radius, float* out) {
  window_mean(view<4>(images, sizes), radius, view<4>(out, sizes));
}

// grid: of the data; block: (3); out: (ceil(D / block[0]), ...).
LIGHTCRCF_EXPORT void lightcrcf_block_mean(const float* data, const int32_t* grid, const int32_t* block, float* out) {
  int32_t blocks[3];
  for (int axis = 0; axis < 3; ++axis) blocks[axis] = (grid[axis] + block[axis] - 1) / block[axis];
  block_mean(view<3>(data, grid), BlockShape{block[0], block[1], block[2]}, view<3>(out, blocks));
}

// out: (3, D, H, W); sums: (3, H).
LIGHTCRCF_EXPORT void lightcrcf_correlation_terms(const float* fixed, const float* moved, const int32_t* grid,
                                                  int32_t radius, float floor, float noise, float* out, double* sums) {
  const ImagePair images{view<3>(fixed, grid), view<3>(moved, grid), {}, radius};
  correlation_terms(images, CorrelationLimits{floor, noise}, field(out, grid), View<double, 2>{sums, {3, grid[1]}});
}

LIGHTCRCF_EXPORT void lightcrcf_correlation_force(const float* fixed, const float* moved, const int32_t* grid,
                                                  int32_t radius, const float* terms, float* out) {
  correlation_force(ImagePair{view<3>(fixed, grid), view<3>(moved, grid), {}, radius}, field(terms, grid), field(out, grid));
}

LIGHTCRCF_EXPORT void lightcrcf_compose_step(const float* u, const float* direction, const int32_t* grid, float scale,
                                             float longest, float* out) {
  compose_step(field(u, grid), Step{field(direction, grid), scale, longest}, field(out, grid));
}

// fixed, weight on one grid; moving, valid on another; matrix: (3, 4); out: (15, 15).
LIGHTCRCF_EXPORT void lightcrcf_normal_equations(const float* fixed, const float* weight, const int32_t* grid,
                                                 const float* moving, const float* valid, const int32_t* moving_grid,
                                                 const double* matrix, int32_t blank_outside, double* out) {
  const Alignment images{view<3>(fixed, grid), view<3>(weight, grid), view<3>(moving, moving_grid),
                         view<3>(valid, moving_grid), blank_outside != 0};
  normal_equations(images, Matrix{matrix, {3, 4}}, View<double, 2>{out, {15, 15}});
}

// As above; matrices: (count, 3, 4); out: (count, 6).
LIGHTCRCF_EXPORT void lightcrcf_correlation_sums(const float* fixed, const float* weight, const int32_t* grid,
                                                 const float* moving, const float* valid, const int32_t* moving_grid,
                                                 const double* matrices, int32_t count, int32_t blank_outside, double* out) {
  const Alignment images{view<3>(fixed, grid), view<3>(weight, grid), view<3>(moving, moving_grid),
                         view<3>(valid, moving_grid), blank_outside != 0};
  correlation_sums(images, View<const double, 3>{matrices, {count, 3, 4}}, View<double, 2>{out, {count, 6}});
}
