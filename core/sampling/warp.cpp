#include "sampling/warp.hpp"

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Find the cells of the points (i, j, k) + u(i, j, k) of a row; `points` is scratch of 3 W values.
void displaced_cells(ConstField features, ConstField u, int64_t i, int64_t j, float* points, Cells cells) {
  const int64_t width = u.shape[3];
  const float start[3] = {static_cast<float>(i), static_cast<float>(j), 0.0f};
  for (int axis = 0; axis < 3; ++axis) {
    const float* __restrict from = u.at(axis, i, j);
    float* __restrict to = points + axis * width;
    for (int64_t k = 0; k < width; ++k) to[k] = start[axis] + from[k];
  }
  float* along = points + 2 * width;
  for (int64_t k = 0; k < width; ++k) along[k] += static_cast<float>(static_cast<int32_t>(k));
  find_cells(features[0].shape, points, points + width, along, width, cells);
}

// out = features(x + u(x)), plus u(x) if `add`.
void pull(ConstField features, ConstField u, bool add, Field out) {
  const int64_t channels = out.shape[0], height = out.shape[2], width = out.shape[3];
  parallel_for(out.shape[1], [&](int64_t i) {
    Scratch<float> floats(6 * width);
    Scratch<int32_t> corner(width);
    const Cells cells{corner.get(), &floats[3 * width], &floats[4 * width], &floats[5 * width]};
    for (int64_t j = 0; j < height; ++j) {
      displaced_cells(features, u, i, j, floats.get(), cells);
      for (int64_t c = 0; c < channels; ++c) {
        float* __restrict row = out.at(c, i, j);
        interpolate_row(features[c], cells, width, row);
        if (!add) continue;
        const float* __restrict addend = u.at(c, i, j);
        for (int64_t k = 0; k < width; ++k) row[k] += addend[k];
      }
    }
  });
}

}  // namespace

void warp(ConstField features, ConstField displacement, Field out) { pull(features, displacement, false, out); }

void compose(ConstField u, ConstField v, Field out) { pull(u, v, true, out); }

}  // namespace lightcrcf::LIGHTCRCF_ISA
