#include "refinement/step.hpp"

#include "base/scratch.hpp"
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

// The rows of a neighbourhood, 3 a + b for neighbour a of the first axis and b of the second, that the steps of a
// vector of voxels need. Each axis has the voxels before, at and after the current one.
struct Rows {
  int32_t count;
  int8_t index[9];
};

// Return the rows for steps to some sides: bits for before and after along the first axis, then along the second one.
Rows rows_for(int sides) {
  Rows rows{0, {}};
  for (int a = sides & 1 ? 0 : 1; a <= (sides & 2 ? 2 : 1); ++a) {
    for (int b = sides & 4 ? 0 : 1; b <= (sides & 8 ? 2 : 1); ++b) {
      rows.index[rows.count++] = static_cast<int8_t>(3 * a + b);
    }
  }
  return rows;
}

[[gnu::always_inline]] inline int sides(Vector step) {
  const Vector zero{};
  return (any(step < zero) ? 1 : 0) | (any(step > zero) ? 2 : 0);
}

// Composes a field with a step, row by row.
//
// No step is longer than a voxel, so that all lies in the 27 neighbours; they are loaded as vectors of neighbouring
// voxels and weighted, without gathers. Where nothing moves, or steps of a whole vector go to the same side, fewer rows
// are enough. Which ones is found for a whole row first, so that branches do not wait for square roots.
class Composer {
 public:
  Composer(ConstField field, const Step& step, Field out)
      : field_(field), step_(step), out_(out), width_(out.shape[3]), row_(padded(width_)),
        channel_(out.shape[1] * out.shape[2] * width_), v_(3 * row_), sides_(row_ / lanes) {
    for (int n = 0; n < 16; ++n) rows_[n] = rows_for(n);
  }

  // Compose row (i, j).
  void run(int64_t i, int64_t j) {
    limit(i, j);
    const int64_t plane = out_.shape[2] * width_;
    const int64_t z[3] = {i > 0 ? -plane : 0, 0, i + 1 < out_.shape[1] ? plane : 0};
    const int64_t y[3] = {j > 0 ? -width_ : 0, 0, j + 1 < out_.shape[2] ? width_ : 0};
    at_ = (i * out_.shape[2] + j) * width_;
    for (int n = 0; n < 9; ++n) offset_[n] = at_ + z[n / 3] + y[n % 3];
    compute<true>(0);
    int64_t k = lanes;
    for (; k + lanes < width_; k += lanes) compute<false>(k);
    if (k < width_) compute<true>(k);
  }

 private:
  // Compute the steps in row (i, j), limited in length; at its ends also to the row.
  void limit(int64_t i, int64_t j) {
    const float* from[3] = {step_.direction.at(0, i, j), step_.direction.at(1, i, j), step_.direction.at(2, i, j)};
    const Vector longest = broadcast(step_.longest);
    const int64_t next = row_ahead(j, out_.shape[2]), down = lower(i + 1, out_.shape[1] - 1);
    for (int64_t k = 0; k < width_; k += lanes) {
      Vector v[3];
      for (int c = 0; c < 3; ++c) v[c] = step_.scale * load_first(from[c] + k, width_ - k);
      for (int c = 0; c < 3; ++c) {
        ask_for(step_.direction.at(c, i, next) + k);
        ask_for(field_.at(c, down, next) + k);
        ask_to_write(out_.at(c, i, next) + k);
      }
      sides_[k / lanes] = sides(v[0]) | sides(v[1]) << 2;
      const Vector shorten = longest / maximum(longest, square_root(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]));
      for (int c = 0; c < 3; ++c) store(&v_[c * row_ + k], shorten * v[c]);
    }
  }

  // Compute the voxels k, k + 1, ... of the row.
  template <bool AtBorder>
  [[gnu::always_inline]] void compute(int64_t k) {
    Vector v[3], weight[9];
    for (int c = 0; c < 3; ++c) v[c] = load(&v_[c * row_ + k]);
    const Linear z(v[0]), y(v[1]), x(AtBorder ? clamp_to_row(v[2], k) : v[2]);
    for (int n = 0; n < 9; ++n) weight[n] = z.weight[n / 3] * y.weight[n % 3];
    Vector sums[3][3] = {};  // of each channel, at the voxels before, at and after along the row
    const Rows& rows = rows_[sides_[k / lanes]];
    for (int n = 0; n < rows.count; ++n) {
      const int index = rows.index[n];
      for (int c = 0; c < 3; ++c) add_row<AtBorder>(k, offset_[index] + c * channel_, weight[index], sums[c]);
    }
    for (int c = 0; c < 3; ++c) {
      const Vector sum = x.weight[0] * sums[c][0] + x.weight[1] * sums[c][1] + x.weight[2] * sums[c][2];
      store_first(out_.data + c * channel_ + at_ + k, v[c] + sum, width_ - k);
    }
  }

  // Add the weighted voxels before, at and after k, k + 1, ... of a row of the field that begins at `offset`.
  template <bool AtBorder>
  [[gnu::always_inline]] void add_row(int64_t k, int64_t offset, Vector weight, Vector (&sums)[3]) const {
    const float* row = field_.data + offset + k;
    const int64_t left = width_ - k;
    const Vector before = AtBorder ? load_between(row - 1, k > 0 ? 0 : 1, left + 1) : load(row - 1);
    const Vector after = AtBorder ? load_between(row + 1, 0, left - 1) : load(row + 1);
    sums[0] += weight * before;
    sums[1] += weight * (AtBorder ? load_between(row, 0, left) : load_middle(row, before, after));
    sums[2] += weight * after;
  }

  // Return steps along the row, clamped to it.
  [[gnu::always_inline]] Vector clamp_to_row(Vector x, int64_t k) const {
    const Vector zero{}, here = iota(static_cast<float>(k));
    x = maximum(x, zero - here);
    return zero - maximum(zero - x, here - static_cast<float>(width_ - 1));
  }

  ConstField field_;
  const Step& step_;
  Field out_;
  int64_t width_, row_, channel_, at_ = 0;
  int64_t offset_[9] = {};  // of the rows of the neighbourhood
  Rows rows_[16];
  Scratch<float> v_;
  Scratch<int> sides_;
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
  // Four times as many tiles as the cache needs, since rows where nothing moves take less time than others.
  const int64_t tiles = tile_count(height, 4 * 3 * 3 * width * static_cast<int64_t>(sizeof(float)));
  parallel_for(tiles, [&](int64_t t) {
    const Tile rows = tile(t, tiles, height);
    Composer composer(field, step, out);
    for (int64_t i = 0; i < depth; ++i) {
      for (int64_t j = rows.first; j < rows.end; ++j) composer.run(i, j);
    }
  });
}

void limit_lengths(Field vectors, float scale, float longest) {
  const int64_t rows = vectors.shape[1] * vectors.shape[2], width = vectors.shape[3], channel = rows * width;
  parallel_for(rows, [=](int64_t n) {
    float* row = vectors.data + n * width;
    for (int64_t k = 0; k < width; k += lanes) {
      Vector v[3];
      for (int c = 0; c < 3; ++c) v[c] = scale * load_first(row + c * channel + k, width - k);
      const Vector length = square_root(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
      const Vector shorten = longest / maximum(broadcast(longest), length);
      for (int c = 0; c < 3; ++c) store_first(row + c * channel + k, shorten * v[c], width - k);
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
