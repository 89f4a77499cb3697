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

// The derivatives of a row of interpolated values along the three axes.
struct Slopes {
  float *z, *y, *x;
};

// The corners of the cells of a block of points: interpolated along z, and their differences along z.
struct Block {
  float between[4 * kCellBlock], along_z[4 * kCellBlock];
};

template <bool OneVoxelWide>
void find_corners(ConstVolume volume, Cells cells, int64_t first, int64_t count, Block& block) {
  const Offsets next(volume.shape);
  const int32_t* __restrict corner = cells.corner + first;
  const float* __restrict cell_z = cells.z + first;
  for (int64_t k = 0; k < count; ++k) {
    const float* near = volume.data + corner[k];
    const Corners before = corners_at<OneVoxelWide>(near, next.down);
    const Corners difference = corners_at<OneVoxelWide>(near + next.back, next.down) - before;
    const Corners between = before + cell_z[k] * difference;
    std::memcpy(block.between + 4 * k, &between, sizeof between);
    std::memcpy(block.along_z + 4 * k, &difference, sizeof difference);
  }
}

// slopes[k] += gradient[k] * derivatives of a block of cells, at the positions (y, x)[k]. Not inlined: otherwise compilers
// forget that the arrays are apart, and do not vectorise.
[[gnu::noinline]] void add_block(const float* __restrict between, const float* __restrict along_z, int64_t count,
                                 const float* __restrict y, const float* __restrict x,
                                 const float* __restrict gradient, float* __restrict dz, float* __restrict dy,
                                 float* __restrict dx) {
  for (int64_t k = 0; k < count; ++k) {
    const float b = y[k], c = x[k], g = gradient[k], *v = between + 4 * k, *d = along_z + 4 * k;
    const float upper = d[0] + c * (d[1] - d[0]), lower = d[2] + c * (d[3] - d[2]);
    const float left = v[2] - v[0], right = v[3] - v[1], top = v[1] - v[0], bottom = v[3] - v[2];
    dz[k] += g * (upper + b * (lower - upper));
    dy[k] += g * (left + c * (right - left));
    dx[k] += g * (top + b * (bottom - top));
  }
}

void add_slopes(ConstVolume volume, Cells cells, const float* gradient, int64_t count, Slopes slopes) {
  Block block;
  for (int64_t first = 0; first < count; first += kCellBlock) {
    const int64_t size = least(kCellBlock, count - first);
    if (volume.shape[2] > 1) {
      find_corners<false>(volume, cells, first, size, block);
    } else {
      find_corners<true>(volume, cells, first, size, block);
    }
    add_block(block.between, block.along_z, size, cells.y + first, cells.x + first, gradient + first, slopes.z + first,
              slopes.y + first, slopes.x + first);
  }
}

// slope[k] = 0 where the coordinate x[k] is clamped to [0, last].
void clear_clamped(const float* __restrict x, float last, int64_t count, float* __restrict slope) {
  for (int64_t k = 0; k < count; ++k) slope[k] = ((x[k] > 0.0f) & (x[k] < last)) ? slope[k] : 0.0f;
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
