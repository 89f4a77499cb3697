#include "fields/warp_gradients.hpp"

#include <cstring>

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// The displaced points of one row after another, and their cells.
class DisplacedRows {
 public:
  explicit DisplacedRows(ConstField u) : u_(u), width_(u.shape[3]), floats_(6 * width_), corner_(width_) {}

  void find(int64_t i, int64_t j) const {
    displaced_row(u_, i, j, {points(0), points(1), points(2)});
    find_cells(u_[0].shape, points(0), points(1), points(2), width_, cells());
  }
  float* points(int axis) const { return &floats_[axis * width_]; }
  Cells cells() const { return {corner_.get(), &floats_[3 * width_], &floats_[4 * width_], &floats_[5 * width_]}; }

 private:
  ConstField u_;
  int64_t width_;
  Scratch<float> floats_;
  Scratch<int32_t> corner_;
};

// Offsets from the first voxel of a cell to the next along each axis; 0 along an axis of one voxel.
struct Offsets {
  int64_t back, down, right;

  explicit Offsets(const int64_t (&shape)[3])
      : back(shape[0] > 1 ? shape[1] * shape[2] : 0), down(shape[1] > 1 ? shape[2] : 0), right(shape[2] > 1 ? 1 : 0) {}
};

// The derivatives of a row of interpolated values along the three axes.
struct Slopes {
  float *z, *y, *x;
};

// slopes[k] += gradient[k] * derivatives of a volume in the cells.
void add_slopes(ConstVolume volume, Cells cells, const float* __restrict gradient, int64_t count, Slopes slopes) {
  const Offsets next(volume.shape);
  const float* __restrict flat = volume.data;
  const int32_t* __restrict corner = cells.corner;
  const float *__restrict cell_z = cells.z, *__restrict cell_y = cells.y, *__restrict cell_x = cells.x;
  float *__restrict dz = slopes.z, *__restrict dy = slopes.y, *__restrict dx = slopes.x;
  for (int64_t k = 0; k < count; ++k) {
    const float *near = flat + corner[k], *far = near + next.back, a = cell_z[k], b = cell_y[k], c = cell_x[k];
    const float *lower = near + next.down, *both = far + next.down;
    const float d00 = near[next.right] - near[0], d01 = lower[next.right] - lower[0];
    const float d10 = far[next.right] - far[0], d11 = both[next.right] - both[0];
    const float v00 = near[0] + c * d00, v01 = lower[0] + c * d01, v10 = far[0] + c * d10, v11 = both[0] + c * d11;
    const float d0 = d00 + b * (d01 - d00), d1 = d10 + b * (d11 - d10), g = gradient[k];
    dz[k] += g * ((v10 - v00) + b * ((v11 - v01) - (v10 - v00)));
    dy[k] += g * ((v01 - v00) + a * ((v11 - v10) - (v01 - v00)));
    dx[k] += g * (d0 + a * (d1 - d0));
  }
}

// slope[k] = 0 where the coordinate x[k] is clamped to [0, last].
void clear_clamped(const float* __restrict x, float last, int64_t count, float* __restrict slope) {
  for (int64_t k = 0; k < count; ++k) slope[k] = (x[k] > 0.0f) & (x[k] < last) ? slope[k] : 0.0f;
}

// Add gradient[k] to the eight voxels of each cell by their weights.
void scatter_row(const float* __restrict gradient, Cells cells, Offsets next, int64_t count, float* flat) {
  for (int64_t k = 0; k < count; ++k) {
    const float a = cells.z[k], b = cells.y[k], c = cells.x[k], far = gradient[k] * a, near = gradient[k] * (1.0f - a);
    const float weights[4] = {near * (1.0f - b), near * b, far * (1.0f - b), far * b};
    const int64_t offsets[4] = {0, next.down, next.back, next.back + next.down};
    float* corner = flat + cells.corner[k];
    for (int n = 0; n < 4; ++n) {
      corner[offsets[n]] += weights[n] * (1.0f - c);
      corner[offsets[n] + next.right] += weights[n] * c;
    }
  }
}

}  // namespace

void warp_gradient(ConstField features, ConstField u, ConstField gradient, Field out) {
  const int64_t channels = features.shape[0], height = out.shape[2], width = out.shape[3];
  parallel_for(out.shape[1], [&](int64_t i) {
    const DisplacedRows rows(u);
    for (int64_t j = 0; j < height; ++j) {
      rows.find(i, j);
      for (int axis = 0; axis < 3; ++axis) std::memset(out.at(axis, i, j), 0, width * sizeof(float));
      const Slopes slopes{out.at(0, i, j), out.at(1, i, j), out.at(2, i, j)};
      for (int64_t c = 0; c < channels; ++c) add_slopes(features[c], rows.cells(), gradient.at(c, i, j), width, slopes);
      for (int axis = 0; axis < 3; ++axis) {
        clear_clamped(rows.points(axis), static_cast<float>(out.shape[axis + 1] - 1), width, out.at(axis, i, j));
      }
    }
  });
}

void warp_features_gradient(ConstField u, ConstField gradient, Field out) {
  const Offsets next(out[0].shape);
  parallel_for(out.shape[0], [&](int64_t c) {
    const DisplacedRows rows(u);
    std::memset(out.at(c), 0, out[c].size() * sizeof(float));
    for (int64_t i = 0; i < out.shape[1]; ++i) {
      for (int64_t j = 0; j < out.shape[2]; ++j) {
        rows.find(i, j);
        scatter_row(gradient.at(c, i, j), rows.cells(), next, out.shape[3], out.at(c));
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
