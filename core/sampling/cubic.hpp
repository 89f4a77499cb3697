// Cubic interpolation of one row of voxels. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/view.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Four values, one for each voxel around a point along an axis.
typedef float Taps __attribute__((vector_size(16)));

// Flat offsets of the four voxels, and their weights.
struct Four {
  int64_t at[4];
  Taps weight;
};

// Return the four voxels around x for an axis of n voxels that are `stride` apart: Keys' cubic with a = -0.5
// (Catmull-Rom), clamped; voxels beyond a border repeat it.
[[gnu::always_inline]] inline Four four_around(float x, int64_t n, int64_t stride) {
  constexpr Taps cubic{-0.5f, 1.5f, -1.5f, 0.5f}, square{1.0f, -2.5f, 2.0f, -0.5f}, linear{-0.5f, 0.0f, 0.5f, 0.0f},
      constant{0.0f, 1.0f, 0.0f, 0.0f};
  const int64_t last = n - 1;
  const float inside = clamp(x, static_cast<float>(last));
  const int64_t i = least(static_cast<int32_t>(inside), last);
  const float t = inside - static_cast<float>(i);
  return {{most(i - 1, 0) * stride, i * stride, least(i + 1, last) * stride, least(i + 2, last) * stride},
          ((cubic * t + square) * t + linear) * t + constant};
}

// Return the volume weighted along the first two axes. `Apart`: voxels along the last axis may coincide.
template <bool Apart>
[[gnu::always_inline]] inline Taps weighted_lines(const float* flat, const Four& z, const Four& y, const Four& x) {
  Taps total{};
  for (int m = 0; m < 4; ++m) {
    Taps plane{};
    for (int n = 0; n < 4; ++n) {
      const float* line = flat + z.at[m] + y.at[n];
      Taps voxels{};
      if (Apart) {
        voxels = Taps{line[x.at[0]], line[x.at[1]], line[x.at[2]], line[x.at[3]]};
      } else {
        std::memcpy(&voxels, line + x.at[0], sizeof voxels);
      }
      plane += y.weight[n] * voxels;
    }
    total += z.weight[m] * plane;
  }
  return total;
}

// out[k] = volume (D, H, W) at the points (z, y, x)[k].
inline void cubic_row(ConstVolume volume, const float* __restrict z, const float* __restrict y,
                      const float* __restrict x, int64_t count, float* __restrict out) {
  const int64_t depth = volume.shape[0], height = volume.shape[1], width = volume.shape[2];
  for (int64_t k = 0; k < count; ++k) {
    const Four planes = four_around(z[k], depth, height * width), lines = four_around(y[k], height, width),
               voxels = four_around(x[k], width, 1);
    const Taps values = voxels.at[3] - voxels.at[0] == 3 ? weighted_lines<false>(volume.data, planes, lines, voxels)
                                                         : weighted_lines<true>(volume.data, planes, lines, voxels);
    const Taps products = voxels.weight * values;
    out[k] = (products[0] + products[1]) + (products[2] + products[3]);
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
