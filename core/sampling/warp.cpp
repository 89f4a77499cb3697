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

  void row(int64_t i, int64_t j, float*, float* const (&points)[3]) const { displaced_row(u, i, j, points); }
  int64_t scratch() const { return 0; }
};

// One of twice the resolution, with rows of `width` voxels.
struct Upsampled {
  ConstField coarse;
  int64_t width;

  void row(int64_t i, int64_t j, float* scratch, float* const (&points)[3]) const {
    for (int axis = 0; axis < 3; ++axis) upsampled_row(coarse[axis], i, j, width, scratch, points[axis]);
    const float start[2] = {static_cast<float>(i), static_cast<float>(j)};
    for (int32_t k = 0; k < static_cast<int32_t>(width); ++k) {
      points[0][k] += start[0];
      points[1][k] += start[1];
      points[2][k] += static_cast<float>(k);
    }
  }
  int64_t scratch() const { return coarse.shape[3] + 2; }
};

// out = features(x + u(x)), plus `addend` unless it is null.
template <typename Displacement>
void pull(ConstField features, const Displacement& u, const ConstField* addend, Field out) {
  const int64_t channels = out.shape[0], height = out.shape[2], width = out.shape[3];
  parallel_for(out.shape[1], [&](int64_t i) {
    Scratch<float> floats(6 * width + u.scratch());
    float* const points[3] = {&floats[3 * width], &floats[4 * width], &floats[5 * width]};
    Scratch<int32_t> corner(width);
    const Cells cells{corner.get(), &floats[0], &floats[width], &floats[2 * width]};
    for (int64_t j = 0; j < height; ++j) {
      u.row(i, j, &floats[6 * width], points);
      find_cells(features[0].shape, points[0], points[1], points[2], width, cells);
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
  pull(features, Upsampled{coarse, out.shape[3]}, nullptr, out);
}

void compose(ConstField u, ConstField v, Field out) { pull(u, Given{v}, &v, out); }

}  // namespace lightcrcf::LIGHTCRCF_ISA
