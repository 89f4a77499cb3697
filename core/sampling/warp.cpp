#include "sampling/warp.hpp"

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "sampling/lines.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// A displacement field, row by row.
struct Given {
  ConstField u;

  void row(int64_t axis, int64_t i, int64_t j, int64_t width, float*, float start, float* __restrict to) const {
    const float* __restrict from = u.at(axis, i, j);
    for (int64_t k = 0; k < width; ++k) to[k] = start + from[k];
  }
  int64_t scratch() const { return 0; }
};

// One of twice the resolution.
struct Upsampled {
  ConstField coarse;

  void row(int64_t axis, int64_t i, int64_t j, int64_t width, float* scratch, float start, float* __restrict to) const {
    upsampled_row(coarse[axis], i, j, width, scratch, to);
    for (int64_t k = 0; k < width; ++k) to[k] = start + to[k];
  }
  int64_t scratch() const { return coarse.shape[3] + 2; }
};

// Find the cells of the points (i, j, k) + u(i, j, k) of a row; `points` is scratch of 3 W values and the displacement's.
template <typename Displacement>
void displaced_cells(ConstVolume grid, const Displacement& u, int64_t i, int64_t j, float* points, Cells cells) {
  const int64_t width = grid.shape[2];
  const float start[3] = {static_cast<float>(i), static_cast<float>(j), 0.0f};
  for (int axis = 0; axis < 3; ++axis) u.row(axis, i, j, width, points + 3 * width, start[axis], points + axis * width);
  float* along = points + 2 * width;
  for (int64_t k = 0; k < width; ++k) along[k] += static_cast<float>(static_cast<int32_t>(k));
  find_cells(grid.shape, points, points + width, along, width, cells);
}

// out = features(x + u(x)), plus `addend` unless it is null.
template <typename Displacement>
void pull(ConstField features, const Displacement& u, const ConstField* addend, Field out) {
  const int64_t channels = out.shape[0], height = out.shape[2], width = out.shape[3];
  parallel_for(out.shape[1], [&](int64_t i) {
    Scratch<float> floats(6 * width + u.scratch());
    Scratch<int32_t> corner(width);
    const Cells cells{corner.get(), &floats[0], &floats[width], &floats[2 * width]};
    for (int64_t j = 0; j < height; ++j) {
      displaced_cells(features[0], u, i, j, &floats[3 * width], cells);
      for (int64_t c = 0; c < channels; ++c) {
        float* __restrict row = out.at(c, i, j);
        interpolate_row(features[c], cells, width, row);
        if (addend == nullptr) continue;
        const float* __restrict more = addend->at(c, i, j);
        for (int64_t k = 0; k < width; ++k) row[k] += more[k];
      }
    }
  });
}

}  // namespace

void warp(ConstField features, ConstField displacement, Field out) { pull(features, Given{displacement}, nullptr, out); }

void warp_upsampled(ConstField features, ConstField coarse, Field out) {
  pull(features, Upsampled{coarse}, nullptr, out);
}

void compose(ConstField u, ConstField v, Field out) { pull(u, Given{v}, &v, out); }

}  // namespace lightcrcf::LIGHTCRCF_ISA
