// Channels-last layout, blocked by 8. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/scratch.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

typedef float Eight __attribute__((vector_size(32)));    // the channels of a voxel
typedef float Sixteen __attribute__((vector_size(64)));  // those of two neighbours along a row

// Transpose 8 rows of 8 values.
[[gnu::always_inline]] inline void transpose(Eight (&r)[8]) {
  Eight t[8], s[8];
#pragma GCC unroll 4
  for (int n = 0; n < 8; n += 2) {
    t[n] = __builtin_shufflevector(r[n], r[n + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[n + 1] = __builtin_shufflevector(r[n], r[n + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int n = 0; n < 8; n += 4) {
    s[n] = __builtin_shufflevector(t[n], t[n + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    s[n + 1] = __builtin_shufflevector(t[n], t[n + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    s[n + 2] = __builtin_shufflevector(t[n + 1], t[n + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    s[n + 3] = __builtin_shufflevector(t[n + 1], t[n + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 4
  for (int n = 0; n < 4; ++n) {
    r[n] = __builtin_shufflevector(s[n], s[n + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    r[n + 4] = __builtin_shufflevector(s[n], s[n + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// Cells of the points of rows, and their memory.
class RowCells {
 public:
  explicit RowCells(int64_t width) : floats_(6 * width), corner_(width), width_(width) {}

  // Find the cells of the points (i, j, k) + u(i, j, k).
  [[gnu::always_inline]] Cells find(const int64_t (&shape)[3], View<const float, 4> u, int64_t i, int64_t j) const {
    const float start[2] = {static_cast<float>(i), static_cast<float>(j)};
    float* points = floats_.get();
    for (int axis = 0; axis < 2; ++axis) {
      const float* __restrict from = u.at(axis, i, j);
      float* __restrict to = points + axis * width_;
      for (int64_t k = 0; k < width_; ++k) to[k] = start[axis] + from[k];
    }
    const float* __restrict from = u.at(2, i, j);
    float* __restrict along = points + 2 * width_;
    for (int32_t k = 0; k < static_cast<int32_t>(width_); ++k) along[k] = static_cast<float>(k) + from[k];
    const Cells cells{corner_.get(), &floats_[3 * width_], &floats_[4 * width_], &floats_[5 * width_]};
    find_cells(shape, points, points + width_, along, width_, cells);
    return cells;
  }

 private:
  Scratch<float> floats_;
  Scratch<int32_t> corner_;
  int64_t width_;
};

// Steps to the neighbours of a voxel, in values of channels-last layout; 0 along axes of one voxel.
struct Steps {
  int64_t right, down, back;
};

inline Steps steps_of(const int64_t (&shape)[3], int64_t each) {
  return {shape[2] > 1 ? each : 0, shape[1] > 1 ? each * shape[2] : 0, shape[0] > 1 ? each * shape[1] * shape[2] : 0};
}

// Interpolate eight channels in the k-th cell; load(p) returns the channels of two neighbours along a row.
template <typename Load>
[[gnu::always_inline]] inline Eight interpolate_eight(int64_t corner, const Steps& steps, float z, float y, float x,
                                                      Load load) {
  const Sixteen a = load(corner), b = load(corner + steps.down), c = load(corner + steps.back),
                d = load(corner + steps.back + steps.down);
  const Sixteen top = a + y * (b - a), bottom = c + y * (d - c), both = top + z * (bottom - top);
  const Eight left = __builtin_shufflevector(both, both, 0, 1, 2, 3, 4, 5, 6, 7),
              right = __builtin_shufflevector(both, both, 8, 9, 10, 11, 12, 13, 14, 15);
  return left + x * (right - left);
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
