// Interpolation of one row of voxels (the last axis). For kernel files only: see base/dispatch.hpp.
//
// Inner loops have no branches. Coordinates are float32 voxel indices. Clamping maps NaN to index 0, so that no
// coordinate reads out of bounds.
#pragma once

#include <cstdint>

#include "base/view.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Return x clamped to [0, last]; NaN becomes 0.
[[gnu::always_inline]] inline float clamp(float x, float last) {
  x = x > 0.0f ? x : 0.0f;
  return x < last ? x : last;
}

[[gnu::always_inline]] inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
[[gnu::always_inline]] inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// The cells of a row of points: corner[k] is the flat index of the first voxel of a cell of a volume, and
// (z, y, x)[k] the position in the cell, in [0, 1] along each axis.
struct Cells {
  int32_t* corner;
  float *z, *y, *x;
};

// (z, y, x)[k] = matrix (3, 4) @ [i, j, k, 1]: starts in float64, steps in float32.
inline void affine_row(const double* matrix, int64_t i, int64_t j, int64_t count, float* const (&points)[3]) {
  for (int axis = 0; axis < 3; ++axis) {
    const double* row = matrix + 4 * axis;
    const float start = static_cast<float>(row[0] * static_cast<double>(i) + row[1] * static_cast<double>(j) + row[3]);
    const float step = static_cast<float>(row[2]);
    float* __restrict to = points[axis];
    const int32_t width = static_cast<int32_t>(count);
    for (int32_t k = 0; k < width; ++k) to[k] = start + static_cast<float>(k) * step;
  }
}

// (z, y, x)[k] = (i, j, k) + u(i, j, k), for a displacement u (3, D, H, W).
inline void displaced_row(ConstField u, int64_t i, int64_t j, float* const (&points)[3]) {
  const int32_t width = static_cast<int32_t>(u.shape[3]);
  const float start[2] = {static_cast<float>(i), static_cast<float>(j)};
  for (int axis = 0; axis < 2; ++axis) {
    const float* __restrict from = u.at(axis, i, j);
    float* __restrict to = points[axis];
    for (int32_t k = 0; k < width; ++k) to[k] = start[axis] + from[k];
  }
  const float* __restrict from = u.at(2, i, j);
  float* __restrict to = points[2];
  for (int32_t k = 0; k < width; ++k) to[k] = static_cast<float>(k) + from[k];
}

// Find the cells of the points (z, y, x)[k], clamped at the borders of a volume of this shape.
inline void find_cells(const int64_t (&shape)[3], const float* __restrict z, const float* __restrict y,
                       const float* __restrict x, int64_t count, Cells cells) {
  const float last_z = static_cast<float>(shape[0] - 1), last_y = static_cast<float>(shape[1] - 1),
              last_x = static_cast<float>(shape[2] - 1);
  const int32_t top_z = static_cast<int32_t>(most(shape[0] - 2, 0)), top_y = static_cast<int32_t>(most(shape[1] - 2, 0)),
                top_x = static_cast<int32_t>(most(shape[2] - 2, 0));
  const int32_t height = static_cast<int32_t>(shape[1]), width = static_cast<int32_t>(shape[2]);
  int32_t* __restrict corner = cells.corner;
  float *__restrict cell_z = cells.z, *__restrict cell_y = cells.y, *__restrict cell_x = cells.x;
  for (int64_t k = 0; k < count; ++k) {
    const float a = clamp(z[k], last_z), b = clamp(y[k], last_y), c = clamp(x[k], last_x);
    int32_t i = static_cast<int32_t>(a), j = static_cast<int32_t>(b), l = static_cast<int32_t>(c);
    i = i < top_z ? i : top_z;
    j = j < top_y ? j : top_y;
    l = l < top_x ? l : top_x;
    cell_z[k] = a - static_cast<float>(i);
    cell_y[k] = b - static_cast<float>(j);
    cell_x[k] = c - static_cast<float>(l);
    corner[k] = (i * height + j) * width + l;
  }
}

// out[k] = trilinear interpolation of a volume in the cells; exact at voxels.
inline void interpolate_row(ConstVolume volume, Cells cells, int64_t count, float* __restrict out) {
  const int64_t depth = volume.shape[0], height = volume.shape[1], width = volume.shape[2];
  const int64_t right = width > 1 ? 1 : 0, down = height > 1 ? width : 0, back = depth > 1 ? height * width : 0;
  const float* __restrict flat = volume.data;
  const int32_t* __restrict corner = cells.corner;
  const float *__restrict cell_z = cells.z, *__restrict cell_y = cells.y, *__restrict cell_x = cells.x;
  for (int64_t k = 0; k < count; ++k) {
    const float *near = flat + corner[k], *far = near + back;
    const float a = cell_z[k], b = cell_y[k], c = cell_x[k], c0 = 1.0f - c;
    const float top = (1.0f - b) * (c0 * near[0] + c * near[right]) + b * (c0 * near[down] + c * near[down + right]);
    const float bottom = (1.0f - b) * (c0 * far[0] + c * far[right]) + b * (c0 * far[down] + c * far[down + right]);
    out[k] = (1.0f - a) * top + a * bottom;
  }
}

// Set out[k] to `fill` where the point (z, y, x)[k] is outside of a volume of this shape, see `is_inside`.
inline void fill_outside(const int64_t (&shape)[3], const float* __restrict z, const float* __restrict y,
                         const float* __restrict x, int64_t count, float fill, float* __restrict out) {
  const float end_z = static_cast<float>(shape[0]) - 0.5f, end_y = static_cast<float>(shape[1]) - 0.5f,
              end_x = static_cast<float>(shape[2]) - 0.5f;
  for (int64_t k = 0; k < count; ++k) {
    const bool inside = (z[k] >= -0.5f) & (z[k] < end_z) & (y[k] >= -0.5f) & (y[k] < end_y) & (x[k] >= -0.5f) & (x[k] < end_x);
    out[k] = inside ? out[k] : fill;
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
