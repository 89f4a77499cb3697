#include "sampling/warp.hpp"

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "sampling/lines.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int64_t kGroup = 8192;  // voxels of the rows that channels go through one after the other

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

// out = features(x + u(x)), plus `addend` unless it is null. Channels go one after the other through some rows of a plane,
// which stay in the cache.
template <typename Displacement>
void pull(ConstField features, const Displacement& u, const ConstField* addend, Field out) {
  const int64_t channels = out.shape[0], height = out.shape[2], width = out.shape[3];
  const int64_t group = most(1, kGroup / width), groups = (height + group - 1) / group;
  parallel_for(out.shape[1] * groups, [&](int64_t n) {
    const int64_t i = n / groups, top = n % groups * group, rows = least(group, height - top);
    Scratch<float> floats(3 * rows * width + 3 * width + u.scratch());
    Scratch<int32_t> corner(rows * width);
    const Cells cells{corner.get(), &floats[0], &floats[rows * width], &floats[2 * rows * width]};
    float* scratch = &floats[3 * rows * width];
    float* const points[3] = {scratch, scratch + width, scratch + 2 * width};
    for (int64_t j = 0; j < rows; ++j) {
      u.row(i, top + j, scratch + 3 * width, points);
      find_cells(features[0].shape, points[0], points[1], points[2], width, cells.from(j * width));
    }
    for (int64_t c = 0; c < channels; ++c) {
      float* __restrict to = out.at(c, i, top);
      interpolate_row(features[c], cells, rows * width, to);
      if (addend == nullptr) continue;
      const float* __restrict more = addend->at(c, i, top);
      for (int64_t k = 0; k < rows * width; ++k) to[k] += more[k];
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
