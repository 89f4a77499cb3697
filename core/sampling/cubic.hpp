// Cubic interpolation of one row of voxels. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>

#include "base/view.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Along one axis: flat offsets of the four voxels around a point, and their weights.
struct Four {
  int32_t at[4];
  float weight[4];
};

// Return the four voxels around x for an axis of n voxels that are `stride` apart: Keys' cubic with a = -0.5
// (Catmull-Rom), clamped; voxels beyond a border repeat it.
[[gnu::always_inline]] inline Four four_around(float x, int32_t n, int32_t stride) {
  const int32_t last = n - 1;
  const float inside = clamp(x, static_cast<float>(last));
  const int32_t i = static_cast<int32_t>(inside);
  const float t = inside - static_cast<float>(i);
  const int32_t before = i > 0 ? i - 1 : 0, after = i + 1 < last ? i + 1 : last, beyond = i + 2 < last ? i + 2 : last;
  return {{before * stride, i * stride, after * stride, beyond * stride},
          {0.5f * t * (t * (2.0f - t) - 1.0f), 0.5f * (t * t * (3.0f * t - 5.0f) + 2.0f),
           0.5f * t * (t * (4.0f - 3.0f * t) + 1.0f), 0.5f * t * t * (t - 1.0f)}};
}

// The sums are written out: loops would keep the compiler from vectorising over points.
[[gnu::always_inline]] inline float cubic_line(const float* line, const Four& x) {
  return x.weight[0] * line[x.at[0]] + x.weight[1] * line[x.at[1]] + x.weight[2] * line[x.at[2]] +
         x.weight[3] * line[x.at[3]];
}

[[gnu::always_inline]] inline float cubic_plane(const float* plane, const Four& y, const Four& x) {
  return y.weight[0] * cubic_line(plane + y.at[0], x) + y.weight[1] * cubic_line(plane + y.at[1], x) +
         y.weight[2] * cubic_line(plane + y.at[2], x) + y.weight[3] * cubic_line(plane + y.at[3], x);
}

// out[k] = volume (D, H, W) at the points (z, y, x)[k].
inline void cubic_row(ConstVolume volume, const float* __restrict z, const float* __restrict y,
                      const float* __restrict x, int64_t count, float* __restrict out) {
  const int32_t depth = static_cast<int32_t>(volume.shape[0]), height = static_cast<int32_t>(volume.shape[1]),
                width = static_cast<int32_t>(volume.shape[2]);
  const float* __restrict flat = volume.data;
  for (int64_t k = 0; k < count; ++k) {
    const Four planes = four_around(z[k], depth, height * width), lines = four_around(y[k], height, width),
               voxels = four_around(x[k], width, 1);
    out[k] = planes.weight[0] * cubic_plane(flat + planes.at[0], lines, voxels) +
             planes.weight[1] * cubic_plane(flat + planes.at[1], lines, voxels) +
             planes.weight[2] * cubic_plane(flat + planes.at[2], lines, voxels) +
             planes.weight[3] * cubic_plane(flat + planes.at[3], lines, voxels);
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
