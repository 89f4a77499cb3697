// What kernels of windows share. For kernel files only: see base/dispatch.hpp.
#pragma once

#include "refinement/blocks.hpp"
#include "refinement/box_window.hpp"
#include "refinement/image_pair.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

constexpr float min_mask_fraction = 0.2f;  // of the voxels of a window that the mask must cover

inline Windows windows_of(const ImagePair& images) {
  const int64_t(&shape)[3] = images.fixed.shape;
  return {shape[0], shape[1], shape[2], images.radius};
}

// The number of voxels of a window.
inline float window_voxels(const ImagePair& images) {
  const float side = static_cast<float>(2 * images.radius + 1);
  return side * side * side;
}

// Return one over the number or the weight of the voxels in windows of `voxels`; 0 where the weights are too few.
template <bool Masked>
[[gnu::always_inline]] inline Vector inverse_count(float voxels, Vector weights) {
  if constexpr (!Masked) return broadcast(1.0f / voxels);
  return select_above(weights, broadcast(min_mask_fraction * voxels), 1.0f / weights, Vector{});
}

// Add the channels of (channels, D, H, W) `values` at a flat index of each.
template <int Channels, int Vectors>
[[gnu::always_inline]] inline void add_channels(const ConstField& values, int64_t at, int64_t left,
                                                Vector (&sums)[Channels][Vectors]) {
  const int64_t channel = values.shape[1] * values.shape[2] * values.shape[3];
  for (int c = 0; c < Channels; ++c) {
    Vector addend[Vectors];
    load_block(values.data + c * channel + at, left, addend);
    for (int v = 0; v < Vectors; ++v) sums[c][v] += addend[v];
  }
}

// Sums over the voxels of rows of windows, in float64 between rows.
struct RowSums {
  Vector gained{}, counted{}, attainable{};

  // Add the first `left` values.
  [[gnu::always_inline]] void add(Vector gain, Vector count, Vector limit, int64_t left) {
    gained += keep_first(gain, left);
    counted += keep_first(count, left);
    attainable += keep_first(limit, left);
  }

  // Add these to row y of `sums`, (3, H).
  void flush(View<double, 2> sums, int64_t y) const {
    *sums.at(0, y) += total(gained);
    *sums.at(1, y) += total(counted);
    *sums.at(2, y) += total(attainable);
  }

 private:
  static double total(Vector values) {
    double sum = 0.0;
    for (int lane = 0; lane < lanes; ++lane) sum += static_cast<double>(values[lane]);
    return sum;
  }
};

inline void clear(View<double, 2> sums) {
  for (int64_t n = 0; n < sums.size(); ++n) sums.data[n] = 0.0;
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
