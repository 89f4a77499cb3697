// Rows between the voxels of one line, for grids with parallel axes. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>

#include "base/view.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Weights of the two coarse voxels next to a fine one, a quarter of a coarse voxel from the nearer.
constexpr float kNear = 0.75f, kFar = 0.25f;

// out[k] = line at (k - 0.5) / 2, for a line with one more voxel before its first and after its last: line[-1] and
// line[ceil(count / 2)] are read.
inline void double_line(const float* __restrict line, int64_t count, float* __restrict out) {
  const int32_t pairs = static_cast<int32_t>(count / 2);
  for (int32_t m = 0; m < pairs; ++m) {
    const float middle = kNear * line[m];
    out[2 * m] = kFar * line[m - 1] + middle;
    out[2 * m + 1] = middle + kFar * line[m + 1];
  }
  if (count & 1) out[count - 1] = kFar * line[pairs - 1] + kNear * line[pairs];
}

// Repeat the first and the last voxel of a line before and after it, for `double_line`.
[[gnu::always_inline]] inline void extend_line(float* line, int64_t width) {
  line[-1] = line[0];
  line[width] = line[width - 1];
}

// out[k] = 2 * coarse (d, h, w) at ((i, j, k) - 0.5) / 2, clamped; `scratch` has w + 2 voxels.
inline void upsampled_row(ConstVolume coarse, int64_t i, int64_t j, int64_t count, float* scratch, float* out) {
  const int64_t width = coarse.shape[2], i0 = i >> 1, j0 = j >> 1;
  const int64_t i1 = most(least(i & 1 ? i0 + 1 : i0 - 1, coarse.shape[0] - 1), 0);
  const int64_t j1 = most(least(j & 1 ? j0 + 1 : j0 - 1, coarse.shape[1] - 1), 0);
  const float *__restrict near = coarse.at(i0, j0), *__restrict down = coarse.at(i0, j1);
  const float *__restrict back = coarse.at(i1, j0), *__restrict both = coarse.at(i1, j1);
  float* __restrict line = scratch + 1;
  for (int64_t k = 0; k < width; ++k) {
    line[k] = 2 * kNear * kNear * near[k] + 2 * kNear * kFar * (down[k] + back[k]) + 2 * kFar * kFar * both[k];
  }
  extend_line(line, width);
  double_line(line, count, out);
}

// line[k] = volume (d, h, w) at (z, y, k), clamped.
inline void bilinear_line(ConstVolume volume, float z, float y, float* __restrict line) {
  const int64_t depth = volume.shape[0], height = volume.shape[1], width = volume.shape[2];
  const float a = clamp(z, static_cast<float>(depth - 1)), b = clamp(y, static_cast<float>(height - 1));
  const int64_t i = least(static_cast<int64_t>(a), most(depth - 2, 0)), i1 = least(i + 1, depth - 1);
  const int64_t j = least(static_cast<int64_t>(b), most(height - 2, 0)), j1 = least(j + 1, height - 1);
  const float s = a - static_cast<float>(i), t = b - static_cast<float>(j);
  const float near = (1 - s) * (1 - t), down = (1 - s) * t, back = s * (1 - t), both = s * t;
  const float *__restrict v00 = volume.at(i, j), *__restrict v01 = volume.at(i, j1);
  const float *__restrict v10 = volume.at(i1, j), *__restrict v11 = volume.at(i1, j1);
  for (int64_t k = 0; k < width; ++k) line[k] = near * v00[k] + down * v01[k] + (back * v10[k] + both * v11[k]);
}

// Find where points x[k] lie along a line of `width` voxels, clamped: after voxel low[k], by fraction[k].
inline void find_along(int64_t width, const float* __restrict x, int64_t count, int32_t* __restrict low,
                       float* __restrict fraction) {
  const float last = static_cast<float>(width - 1);
  const int32_t top = static_cast<int32_t>(most(width - 2, 0));
  for (int64_t k = 0; k < count; ++k) {
    const float at = clamp(x[k], last);
    int32_t n = static_cast<int32_t>(at);
    n = n < top ? n : top;
    low[k] = n;
    fraction[k] = at - static_cast<float>(n);
  }
}

// out[k] = a line of `width` voxels at the points x[k], which `find_along` found; 0 outside, see `is_inside`.
inline void linear_row(const float* __restrict line, int64_t width, const float* __restrict x,
                       const int32_t* __restrict low, const float* __restrict fraction, int64_t count,
                       float* __restrict out) {
  const int64_t right = width > 1 ? 1 : 0;
  const float end = static_cast<float>(width) - 0.5f;
  for (int64_t k = 0; k < count; ++k) {
    const float* from = line + low[k];
    const float value = (1.0f - fraction[k]) * from[0] + fraction[k] * from[right];
    out[k] = ((x[k] >= -0.5f) & (x[k] < end)) ? value : 0.0f;
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
