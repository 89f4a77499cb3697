// The samples of one row of fixed voxels under an affine. For kernel files only: see base/dispatch.hpp.
#pragma once

#include "affine/alignment.hpp"
#include "base/loops.hpp"
#include "base/scratch.hpp"
#include "base/simd.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Samples k of voxels first + k of a row. Arrays end with zeros up to a whole number of vectors.
struct Samples {
  int64_t first, count;
  float *z, *y, *x;                        // points in the moving image
  float *weight, *fixed, *moving, *inside; // w, f and m; fixed and moving are 0 without weight; inside is 0 or 1
  float *slope_z, *slope_y, *slope_x;      // derivatives of m; 0 where the point is clamped
  Cells cells;
};

// The memory of the samples of a row.
class SampleMemory {
 public:
  explicit SampleMemory(int64_t width) : stride_(width + 2 * lanes), floats_(13 * stride_), corners_(stride_) {}

  Samples samples() const {
    Samples s;
    float** const rows[] = {&s.z,       &s.y,       &s.x,       &s.weight,  &s.fixed,   &s.moving, &s.inside,
                            &s.slope_z, &s.slope_y, &s.slope_x, &s.cells.z, &s.cells.y, &s.cells.x};
    int64_t at = 0;
    for (float** row : rows) *row = &floats_[stride_ * at++];
    s.cells.corner = corners_.get();
    return s;
  }

 private:
  int64_t stride_;
  Scratch<float> floats_;
  Scratch<int32_t> corners_;
};

struct Range {
  int64_t first, count;
};

// Sums are over slabs of planes, and then over slabs in order, so that results do not depend on the number of threads.
constexpr int64_t kMostSlabs = 64;
[[gnu::always_inline]] inline int64_t slab_count(const ConstVolume& volume) { return least(volume.shape[0], kMostSlabs); }

// Return the planes of slab n.
[[gnu::always_inline]] inline Range slab_planes(const ConstVolume& volume, int64_t n) {
  const int64_t depth = volume.shape[0], slabs = slab_count(volume), first = n * depth / slabs;
  return {first, (n + 1) * depth / slabs - first};
}

// Return row[0 : count] without zeros at its ends, as its first index and the number of values.
inline Range nonzero_range(const float* row, int64_t count) {
  int64_t first = 0, last = count;
  while (first < last && row[first] == 0.0f) ++first;
  while (last > first && row[last - 1] == 0.0f) --last;
  return {first, last - first};
}

// Compute the points of voxels (i, j, first + k): starts in float64, steps in float32.
inline void find_points(Matrix matrix, int64_t i, int64_t j, Samples& s) {
  float* const points[] = {s.z, s.y, s.x};
  const double z = static_cast<double>(i), y = static_cast<double>(j);
  const int32_t first = static_cast<int32_t>(s.first), count = static_cast<int32_t>(s.count);
  for (int axis = 0; axis < 3; ++axis) {
    const double* m = matrix.at(axis);
    const float start = static_cast<float>(m[0] * z + m[1] * y + m[3]), step = static_cast<float>(m[2]);
    float* __restrict row = points[axis];
    for (int32_t k = 0; k < count; ++k) row[k] = start + static_cast<float>(first + k) * step;
  }
}

// The sizes of a grid and its borders, for tests of points.
struct Borders {
  explicit Borders(const int64_t (&shape)[3])
      : end_z(static_cast<float>(shape[0]) - 0.5f), end_y(static_cast<float>(shape[1]) - 0.5f),
        end_x(static_cast<float>(shape[2]) - 0.5f), last_z(static_cast<float>(shape[0] - 1)),
        last_y(static_cast<float>(shape[1] - 1)), last_x(static_cast<float>(shape[2] - 1)) {}

  [[gnu::always_inline]] bool is_inside(float z, float y, float x) const {
    return (z >= -0.5f) & (z < end_z) & (y >= -0.5f) & (y < end_y) & (x >= -0.5f) & (x < end_x);
  }

  float end_z, end_y, end_x, last_z, last_y, last_x;
};

// weight[k] = valid at the voxel nearest to point k, clamped.
inline void read_nearest(const ConstVolume& valid, const Samples& s) {
  const Borders grid(valid.shape);
  const int32_t height = static_cast<int32_t>(valid.shape[1]), width = static_cast<int32_t>(valid.shape[2]);
  const int32_t top_z = static_cast<int32_t>(valid.shape[0]) - 1, top_y = height - 1, top_x = width - 1;
  const int32_t count = static_cast<int32_t>(s.count);
  LIGHTCRCF_INDEPENDENT
  for (int32_t k = 0; k < count; ++k) {
    int32_t i = static_cast<int32_t>(clamp(s.z[k] + 0.5f, grid.last_z));
    int32_t j = static_cast<int32_t>(clamp(s.y[k] + 0.5f, grid.last_y));
    int32_t l = static_cast<int32_t>(clamp(s.x[k] + 0.5f, grid.last_x));
    i = i < top_z ? i : top_z;
    j = j < top_y ? j : top_y;
    l = l < top_x ? l : top_x;
    s.weight[k] = valid.data[(i * height + j) * width + l];
  }
}

// Compute w and `inside`, from `weights` of the samples. (In a loop of its own: GCC would make its loads conditional.)
inline void weigh(const Alignment& images, const float* weights, const Samples& s) {
  const Borders grid(images.valid.shape);
  const float outside = images.blank_outside ? 1.0f : 0.0f;
  const int32_t count = static_cast<int32_t>(s.count);
  read_nearest(images.valid, s);
  LIGHTCRCF_INDEPENDENT
  for (int32_t k = 0; k < count; ++k) {
    const bool within = grid.is_inside(s.z[k], s.y[k], s.x[k]);
    const float product = weights[k] * (within ? s.weight[k] : outside);
    s.weight[k] = product > 0.0f ? product : 0.0f;
    s.inside[k] = within ? 1.0f : 0.0f;
  }
}

// Skip samples without weight at both ends.
inline void skip_ends(Samples& s) {
  const Range range = nonzero_range(s.weight, s.count);
  float** const rows[] = {&s.z, &s.y, &s.x, &s.weight, &s.inside};
  for (float** row : rows) *row += range.first;
  s.first += range.first;
  s.count = range.count;
}

// Find the points, weights and f of row (i, j), where there is weight. Return whether there is any.
inline bool find_samples(const Alignment& images, Matrix matrix, int64_t i, int64_t j, Samples& s) {
  const float* weights = images.weight.at(i, j);
  const Range range = nonzero_range(weights, images.weight.shape[2]);
  s.first = range.first;
  s.count = range.count;
  if (range.count == 0) return false;
  find_points(matrix, i, j, s);
  weigh(images, weights + range.first, s);
  skip_ends(s);
  const float *__restrict from = images.fixed.at(i, j) + s.first, *__restrict weight = s.weight;
  float* __restrict to = s.fixed;
  const int32_t count = static_cast<int32_t>(s.count);
  for (int32_t k = 0; k < count; ++k) to[k] = weight[k] > 0.0f ? from[k] : 0.0f;
  return count > 0;
}

// Write zeros after the samples, for loops over whole vectors.
inline void pad(const Samples& s) {
  float* const rows[] = {s.weight, s.fixed, s.moving, s.slope_z, s.slope_y, s.slope_x};
  for (float* row : rows) store(row + s.count, Vector{});
}

// Compute m.
inline void interpolate(const Alignment& images, Samples& s) {
  find_cells(images.moving.shape, s.z, s.y, s.x, s.count, s.cells);
  interpolate_row(images.moving, s.cells, s.count, s.moving);
  const float *__restrict inside = s.inside, *__restrict weight = s.weight;
  float* __restrict moving = s.moving;
  const int32_t count = static_cast<int32_t>(s.count);
  for (int32_t k = 0; k < count; ++k) moving[k] = inside[k] * weight[k] > 0.0f ? moving[k] : 0.0f;
}

// Compute m and its derivatives.
inline void differentiate(const Alignment& images, Samples& s) {
  const ConstVolume& volume = images.moving;
  const Borders grid(volume.shape);
  find_cells(volume.shape, s.z, s.y, s.x, s.count, s.cells);
  const int64_t depth = volume.shape[0], height = volume.shape[1], width = volume.shape[2];
  const int32_t right = width > 1 ? 1 : 0, down = static_cast<int32_t>(height > 1 ? width : 0),
                back = static_cast<int32_t>(depth > 1 ? height * width : 0);
  const float* __restrict flat = volume.data;
  const int32_t* __restrict corner = s.cells.corner;
  const float *__restrict cell_z = s.cells.z, *__restrict cell_y = s.cells.y, *__restrict cell_x = s.cells.x;
  const float *__restrict z = s.z, *__restrict y = s.y, *__restrict x = s.x;
  const float *__restrict inside = s.inside, *__restrict weight = s.weight;
  float *__restrict moving = s.moving, *__restrict slope_z = s.slope_z, *__restrict slope_y = s.slope_y,
        *__restrict slope_x = s.slope_x;
  const int32_t count = static_cast<int32_t>(s.count);
  LIGHTCRCF_INDEPENDENT
  for (int32_t k = 0; k < count; ++k) {
    const float *near = flat + corner[k], *far = near + back;
    const float a = cell_z[k], b = cell_y[k], c = cell_x[k];
    const float v000 = near[0], v001 = near[right], v010 = near[down], v011 = near[down + right];
    const float v100 = far[0], v101 = far[right], v110 = far[down], v111 = far[down + right];
    const float d00 = v001 - v000, d01 = v011 - v010, d10 = v101 - v100, d11 = v111 - v110;
    const float v00 = v000 + c * d00, v01 = v010 + c * d01, v10 = v100 + c * d10, v11 = v110 + c * d11;
    const float v0 = v00 + b * (v01 - v00), v1 = v10 + b * (v11 - v10);
    const float d0 = d00 + b * (d01 - d00), d1 = d10 + b * (d11 - d10);
    const float e0 = v01 - v00, e1 = v11 - v10;
    const bool known = inside[k] * weight[k] > 0.0f;
    moving[k] = known ? v0 + a * (v1 - v0) : 0.0f;
    slope_z[k] = (known & (z[k] > 0.0f) & (z[k] < grid.last_z)) ? v1 - v0 : 0.0f;
    slope_y[k] = (known & (y[k] > 0.0f) & (y[k] < grid.last_y)) ? e0 + a * (e1 - e0) : 0.0f;
    slope_x[k] = (known & (x[k] > 0.0f) & (x[k] < grid.last_x)) ? d0 + a * (d1 - d0) : 0.0f;
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
