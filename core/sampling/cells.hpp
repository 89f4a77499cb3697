// Interpolation at one point, with derivatives. For kernel files only: see base/dispatch.hpp.
//
// Points are float64 voxel indices. NaN is clamped to index 0, so that no point reads out of bounds.
#pragma once

#include <cstdint>

#include "base/view.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Return whether a voxel index is inside by the convention of ITK: [-0.5, n - 0.5) along each axis.
template <typename T>
[[gnu::always_inline]] inline bool is_inside(const int64_t (&shape)[3], T z, T y, T x) {
  const T half = static_cast<T>(0.5);
  const T end_z = static_cast<T>(shape[0]) - half, end_y = static_cast<T>(shape[1]) - half,
          end_x = static_cast<T>(shape[2]) - half;
  return (z >= -half) & (z < end_z) & (y >= -half) & (y < end_y) & (x >= -half) & (x < end_x);
}

// The voxels before and after voxel i along an axis of n voxels, and the inverse of their distance (0 if n is 1).
struct Neighbours {
  int64_t before, after;
  float inverse;
};

[[gnu::always_inline]] inline Neighbours neighbours(int64_t i, int64_t n) {
  const int64_t before = i > 0 ? i - 1 : 0, after = i < n - 1 ? i + 1 : n - 1;
  return {before, after, n > 1 ? 1.0f / static_cast<float>(after - before) : 0.0f};
}

// Along one axis: the voxels below and above a point, the fraction between them, and 1, or 0 if the point is clamped.
struct Between {
  int64_t low, high;
  double fraction, free;
};

[[gnu::always_inline]] inline Between between(double x, int64_t n) {
  const double last = static_cast<double>(n - 1);
  double inside = x > 0.0 ? x : 0.0;
  inside = inside < last ? inside : last;
  int64_t low = static_cast<int64_t>(inside);
  low = low < n - 2 ? low : (n > 1 ? n - 2 : 0);
  return {low, n > 1 ? low + 1 : 0, inside - static_cast<double>(low), x > 0.0 && x < last ? 1.0 : 0.0};
}

struct Cell {
  Between z, y, x;
};

// Return the cell of a point, clamped at the borders of a volume of this shape.
[[gnu::always_inline]] inline Cell cell_at(const int64_t (&shape)[3], double z, double y, double x) {
  return {between(z, shape[0]), between(y, shape[1]), between(x, shape[2])};
}

// A value and its derivatives along the three axes.
struct Sample {
  double value, along_z, along_y, along_x;
};

// Return the trilinear interpolation of a volume in a cell, and its derivatives; these are 0 along a clamped axis.
[[gnu::always_inline]] inline Sample sample_cell(ConstVolume volume, const Cell& cell) {
  const double a = cell.z.fraction, b = cell.y.fraction, c = cell.x.fraction;
  const float *row00 = volume.at(cell.z.low, cell.y.low), *row01 = volume.at(cell.z.low, cell.y.high),
              *row10 = volume.at(cell.z.high, cell.y.low), *row11 = volume.at(cell.z.high, cell.y.high);
  const int64_t left = cell.x.low, right = cell.x.high;
  const float v000 = row00[left], v010 = row01[left], v100 = row10[left], v110 = row11[left];
  const float d00 = row00[right] - v000, d01 = row01[right] - v010, d10 = row10[right] - v100, d11 = row11[right] - v110;
  const double v00 = v000 + c * d00, v01 = v010 + c * d01, v10 = v100 + c * d10, v11 = v110 + c * d11;
  const double d0 = d00 + b * (d01 - d00), d1 = d10 + b * (d11 - d10);
  const double v0 = v00 + b * (v01 - v00), v1 = v10 + b * (v11 - v10);
  return {v0 + a * (v1 - v0), cell.z.free * (v1 - v0), cell.y.free * ((v01 - v00) + a * ((v11 - v10) - (v01 - v00))),
          cell.x.free * (d0 + a * (d1 - d0))};
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
