#include "refinement/step.hpp"

#include "refinement/blocks.hpp"
#include "refinement/tiles.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Weights of the voxels before, at and after the current one, for an offset x in [-1, 1].
struct Linear {
  Vector weight[3];

  [[gnu::always_inline]] explicit Linear(Vector x) {
    const Vector zero{}, before = maximum(zero - x, zero), after = maximum(x, zero);
    weight[0] = before;
    weight[1] = 1.0f - before - after;
    weight[2] = after;
  }
};

// Rows of a neighbourhood and their weights.
struct Neighbours {
  int count;
  int64_t offset[9];
  Vector weight[9];
};

// Interpolates the field in one row.
//
// No step is longer than a voxel, so that all lies in the 27 neighbours; they are loaded as vectors of neighbouring
// voxels and weighted, without gathers. Steps are smooth: mostly those of a whole vector go to the same side along the
// first two axes, and half of the rows are enough along each.
class StepRow {
 public:
  StepRow(ConstField field, const Step& step, Field out, int64_t i, int64_t j)
      : step_(step), width_(out.shape[3]), channel_(field.shape[1] * field.shape[2] * field.shape[3]),
        flat_(field.data), at_((i * field.shape[2] + j) * width_) {
    const int64_t plane = field.shape[2] * width_;
    z_[0] = i > 0 ? -plane : 0, z_[1] = 0, z_[2] = i + 1 < field.shape[1] ? plane : 0;
    y_[0] = j > 0 ? -width_ : 0, y_[1] = 0, y_[2] = j + 1 < field.shape[2] ? width_ : 0;
    for (int c = 0; c < 3; ++c) direction_[c] = step.direction.at(c, i, j), out_[c] = out.at(c, i, j);
  }

  // Compute the voxels k, k + 1, ..., of which `left` are in the row.
  [[gnu::always_inline]] void compute(int64_t k) const {
    const int64_t left = width_ - k;
    Vector v[3], limit = broadcast(step_.longest);
    for (int c = 0; c < 3; ++c) v[c] = broadcast(step_.scale) * load_first(direction_[c] + k, left);
    const Vector shorten = limit / maximum(limit, square_root(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]));
    for (int c = 0; c < 3; ++c) v[c] *= shorten;
    Neighbours near;
    find(v[0], v[1], near);
    if (k > 0 && left > lanes) {
      sum(k, near, Linear(v[2]), v, [](const float* row, int64_t) { return load(row); });
    } else {
      const int64_t last = width_ - 1;
      sum(k, near, Linear(clamp_to_row(v[2], k)), v,
          [last](const float* row, int64_t at) { return load_bounded(row, at, last); });
    }
  }

 private:
  // Find the rows that count.
  [[gnu::always_inline]] void find(Vector z, Vector y, Neighbours& near) const {
    int first_z, last_z, first_y, last_y;
    sides(z, first_z, last_z);
    sides(y, first_y, last_y);
    const Linear along_z(z), along_y(y);
    near.count = 0;
    for (int a = first_z; a <= last_z; ++a) {
      for (int b = first_y; b <= last_y; ++b) {
        near.offset[near.count] = at_ + z_[a] + y_[b];
        near.weight[near.count++] = along_z.weight[a] * along_y.weight[b];
      }
    }
  }

  // The neighbours that any of the offsets needs.
  [[gnu::always_inline]] static void sides(Vector offset, int& first, int& last) {
    const Vector zero{};
    first = any(offset < zero) ? 0 : 1;
    last = any(offset > zero) ? 2 : 1;
  }

  // Return steps along the row, clamped to it.
  [[gnu::always_inline]] Vector clamp_to_row(Vector x, int64_t k) const {
    const Vector zero{}, here = iota(static_cast<float>(k));
    x = maximum(x, zero - here);
    return zero - maximum(zero - x, here - static_cast<float>(width_ - 1));
  }

  // out = v + the weighted sum of the neighbours.
  template <typename Load>
  [[gnu::always_inline]] void sum(int64_t k, const Neighbours& near, const Linear& x, const Vector (&v)[3],
                                  Load load_row) const {
    Vector total[3] = {v[0], v[1], v[2]};
    for (int n = 0; n < near.count; ++n) {
      for (int c = 0; c < 3; ++c) {
        const float* row = flat_ + c * channel_ + near.offset[n] + k;
        Vector along = x.weight[0] * load_row(row - 1, k - 1);
        along += x.weight[1] * load_row(row, k);
        along += x.weight[2] * load_row(row + 1, k + 1);
        total[c] += near.weight[n] * along;
      }
    }
    for (int c = 0; c < 3; ++c) store_first(out_[c] + k, total[c], width_ - k);
  }

  // Return the voxels of a row from `at` on, and 0 for those outside; `row` points to the first.
  [[gnu::always_inline]] static Vector load_bounded(const float* row, int64_t at, int64_t last) {
    if (at < 0) return shift_up(load_first(row + 1, last + 1), 0.0f);
    return load_first(row, last - at + 1);
  }

  const Step& step_;
  int64_t width_, channel_;
  const float* flat_;
  int64_t at_;
  int64_t z_[3], y_[3];
  const float* direction_[3];
  float* out_[3];
};

}  // namespace

void accumulate(Field total, float keep, ConstField addend, float scale) {
  const int64_t rows = total.shape[0] * total.shape[1], size = total.shape[2] * total.shape[3];
  parallel_for(rows, [=](int64_t n) {
    float* __restrict to = total.data + n * size;
    const float* __restrict from = addend.data + n * size;
    if (keep == 0.0f) {
      for (int64_t k = 0; k < size; ++k) to[k] = scale * from[k];
    } else {
      for (int64_t k = 0; k < size; ++k) to[k] = keep * to[k] + scale * from[k];
    }
  });
}

void compose_step(ConstField field, const Step& step, Field out) {
  const int64_t depth = out.shape[1], height = out.shape[2], width = out.shape[3];
  const int64_t tiles = tile_count(height, 3 * 3 * width * static_cast<int64_t>(sizeof(float)));
  parallel_for(tiles, [&](int64_t t) {
    const Tile rows = tile(t, tiles, height);
    for (int64_t i = 0; i < depth; ++i) {
      for (int64_t j = rows.first; j < rows.end; ++j) {
        const StepRow row(field, step, out, i, j);
        for (int64_t k = 0; k < width; k += lanes) row.compute(k);
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
