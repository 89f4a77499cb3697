// Interpolation of one row of voxels (the last axis). For kernel files only: see base/dispatch.hpp.
//
// Inner loops have no branches. Coordinates are float32 voxel indices. Clamping maps NaN to index 0, so that no
// coordinate reads out of bounds.
#pragma once

#include <cstdint>
#include <cstring>

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

  Cells from(int64_t k) const { return {corner + k, z + k, y + k, x + k}; }
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

// Values at the corners (y, x) = (0, 0), (0, 1), (1, 0), (1, 1) of one side of a cell.
typedef float Corners __attribute__((vector_size(16)));

// Offsets from the first voxel of a cell to the next along each axis; 0 along an axis of one voxel.
struct Offsets {
  int64_t back, down, right;

  explicit Offsets(const int64_t (&shape)[3])
      : back(shape[0] > 1 ? shape[1] * shape[2] : 0), down(shape[1] > 1 ? shape[2] : 0), right(shape[2] > 1 ? 1 : 0) {}
};

// Return the corners of one side of a cell from two voxels of two rows. Loads of pairs are faster than gathers of single
// voxels, and much faster on processors whose gathers are slow.
template <bool OneVoxelWide>
[[gnu::always_inline]] inline Corners corners_at(const float* near, int64_t down) {
  const float* lower = near + down;
  if (OneVoxelWide) return Corners{near[0], near[0], lower[0], lower[0]};
  typedef double Rows __attribute__((vector_size(16)));
  double upper_row, lower_row;
  std::memcpy(&upper_row, near, sizeof upper_row);
  std::memcpy(&lower_row, lower, sizeof lower_row);
  return (Corners)Rows{upper_row, lower_row};
}

constexpr int64_t kCellBlock = 64;  // points whose corners are kept at a time

// corners[4 k : 4 k + 4] = the corners of cell k, interpolated along z.
template <bool OneVoxelWide>
inline void corners_between(ConstVolume volume, Cells cells, int64_t first, int64_t count, float* __restrict corners) {
  const Offsets next(volume.shape);
  const float* __restrict flat = volume.data;
  const int32_t* __restrict corner = cells.corner + first;
  const float* __restrict cell_z = cells.z + first;
  for (int64_t k = 0; k < count; ++k) {
    const float* near = flat + corner[k];
    const float a = cell_z[k];
    const Corners values = (1.0f - a) * corners_at<OneVoxelWide>(near, next.down) +
                           a * corners_at<OneVoxelWide>(near + next.back, next.down);
    std::memcpy(corners + 4 * k, &values, sizeof values);
  }
}

// out[k] = trilinear interpolation of a volume in the cells; exact at voxels.
inline void interpolate_row(ConstVolume volume, Cells cells, int64_t count, float* out) {
  float corners[4 * kCellBlock];
  for (int64_t first = 0; first < count; first += kCellBlock) {
    const int64_t size = least(kCellBlock, count - first);
    if (volume.shape[2] > 1) {
      corners_between<false>(volume, cells, first, size, corners);
    } else {
      corners_between<true>(volume, cells, first, size, corners);
    }
    const float *__restrict cell_y = cells.y + first, *__restrict cell_x = cells.x + first;
    float* __restrict to = out + first;
    for (int64_t k = 0; k < size; ++k) {
      const float b = cell_y[k], c = cell_x[k], b0 = 1.0f - b, c0 = 1.0f - c, *at = corners + 4 * k;
      to[k] = b0 * (c0 * at[0] + c * at[1]) + b * (c0 * at[2] + c * at[3]);
    }
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
