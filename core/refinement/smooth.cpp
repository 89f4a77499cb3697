#include "refinement/smooth.hpp"

#include "base/scratch.hpp"
#include "refinement/blocks.hpp"
#include "refinement/tiles.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// The part of a window that is inside of the volume: places first to last, and their weights.
struct Reach {
  int64_t first, last;
  const float* weights;
};

// Both halves of a window along one axis of `size` voxels.
class Window {
 public:
  Window(const float* half, int64_t radius, int64_t size)
      : radius_(radius), size_(size), taps_(2 * radius + 1), folded_(2 * (2 * radius + 1)) {
    for (int64_t n = -radius; n <= radius; ++n) taps_[radius + n] = half[n < 0 ? -n : n];
  }

  const float* taps() const { return taps_.get(); }

  // Return the reach of the window about a place. What is outside adds to the weight of the border. `which` of two
  // results stays valid until the next call for it.
  Reach about(int64_t centre, int which) const {
    const int64_t first = higher(centre - radius_, 0), last = lower(centre + radius_, size_ - 1);
    if (last - first == 2 * radius_) return {first, last, taps_.get()};
    float* weights = &folded_[which * (2 * radius_ + 1)];
    for (int64_t n = first; n <= last; ++n) weights[n - first] = 0.0f;
    for (int64_t n = -radius_; n <= radius_; ++n) {
      weights[lower(higher(centre + n, first), last) - first] += taps_[radius_ + n];
    }
    return {first, last, weights};
  }

 private:
  int64_t radius_, size_;
  Scratch<float> taps_, folded_;
};

// Add weight times a row to sums.
template <int Vectors>
[[gnu::always_inline]] inline void add(float weight, const Vector (&row)[Vectors], Vector (&sums)[Vectors]) {
  for (int v = 0; v < Vectors; ++v) sums[v] += broadcast(weight) * row[v];
}

// Compute two weighted sums of rows that begin at rows[0] for place a.first, rows[1] for the next one, ...; those of b
// begin and end with or after those of a. Each sum adds rows in their order.
template <int Vectors>
[[gnu::always_inline]] inline void sum_rows(const float* const* rows, Reach a, Reach b, int64_t k, int64_t left,
                                            Vector (&sum_a)[Vectors], Vector (&sum_b)[Vectors]) {
  Vector row[Vectors];
  const float *weight_a = a.weights - a.first, *weight_b = b.weights - b.first;
  int64_t n = a.first;
  for (; n < b.first; ++n) {
    load_block(rows[n - a.first] + k, left, row);
    add(weight_a[n], row, sum_a);
  }
  for (; n <= a.last; ++n) {
    load_block(rows[n - a.first] + k, left, row);
    add(weight_a[n], row, sum_a);
    add(weight_b[n], row, sum_b);
  }
  for (; n <= b.last; ++n) {
    load_block(rows[n - a.first] + k, left, row);
    add(weight_b[n], row, sum_b);
  }
}

// The sums along the first and the last axis of two planes, in a ring of rows, whose sums go to the output. Planes and
// rows are done in pairs, which have most of their input in common.
class Smoother {
 public:
  Smoother(ConstVolume values, View<const float, 2> taps, Volume out)
      : values_(values), out_(out), radius_(taps.shape[1] - 1), z_(taps.at(0, 0), radius_, values.shape[0]),
        y_(taps.at(1, 0), radius_, values.shape[1]), x_(taps.at(2, 0), radius_, values.shape[2]),
        row_(padded(values.shape[2])), slots_(lower(2 * radius_ + 2, values.shape[1])),
        lines_(2 * (row_ + 2 * radius_)), ring_(2 * slots_ * row_), unused_(row_), rows_(2 * radius_ + 2) {
    for (int64_t n = 0; n < 2 * (row_ + 2 * radius_); ++n) lines_[n] = 0.0f;
  }

  // Smooth rows of all planes.
  void run(Tile tile) {
    const int64_t depth = values_.shape[0], height = values_.shape[1];
    for (int64_t i = 0; i < depth; i += 2) {
      const int64_t other = lower(i + 1, depth - 1);
      const Reach a = z_.about(i, 0), b = z_.about(other, 1);
      int64_t next = higher(tile.first - radius_, 0);
      for (int64_t y = tile.first; y < tile.end; y += 2) {
        const int64_t last = lower(lower(y + 1, tile.end - 1) + radius_, height - 1);
        for (; next <= last; ++next) fill(a, b, next);
        for (int64_t p = i; p <= other; ++p) finish(p, y, y + 1 < tile.end);
      }
    }
  }

 private:
  // Compute row y of the sums of two planes along the first and the last axis.
  void fill(Reach a, Reach b, int64_t y) {
    const int64_t width = values_.shape[2], line = row_ + 2 * radius_;
    for (int64_t p = a.first; p <= b.last; ++p) rows_[p - a.first] = values_.at(p, y);
    float *first = &lines_[radius_], *second = first + line;
    const int64_t next = row_ahead(y, values_.shape[1]);
    const float *new_a = values_.at(a.last, next), *new_b = values_.at(b.last, next);
    for_blocks<4>(width, [&](auto block, int64_t k) {
      constexpr int vectors = decltype(block)::vectors;
      ask_for<vectors>(new_a + k);
      ask_for<vectors>(new_b + k);
      Vector sum_a[vectors] = {}, sum_b[vectors] = {};
      sum_rows(rows_.get(), a, b, k, width - k, sum_a, sum_b);
      for (int v = 0; v < vectors; ++v) store(first + k + v * lanes, sum_a[v]);
      for (int v = 0; v < vectors; ++v) store(second + k + v * lanes, sum_b[v]);
    });
    for (int plane = 0; plane < 2; ++plane) sum_along(&lines_[plane * line], slot(plane, y));
  }

  // Convolve a line, of which the ends are yet to be repeated outside.
  void sum_along(float* line, float* __restrict out) {
    float *begin = line + radius_, *end = begin + values_.shape[2];
    for (int64_t n = 0; n < radius_; ++n) line[n] = begin[0];
    for (int64_t n = 0; n < radius_; ++n) end[n] = end[-1];
    const float* taps = x_.taps();
    const int64_t window = 2 * radius_ + 1;
    for_blocks<4>(row_, [&](auto block, int64_t k) {
      constexpr int vectors = decltype(block)::vectors;
      Vector sums[vectors] = {}, shifted[vectors];
      for (int64_t n = 0; n < window; ++n) {
        for (int v = 0; v < vectors; ++v) shifted[v] = load(line + k + n + v * lanes);
        add(taps[n], shifted, sums);
      }
      for (int v = 0; v < vectors; ++v) store(out + k + v * lanes, sums[v]);
    });
  }

  // Sum rows of the ring to row y of the output, and the next one if there are `both`.
  void finish(int64_t p, int64_t y, bool both) {
    const int64_t width = values_.shape[2];
    const Reach a = y_.about(y, 0), b = both ? y_.about(y + 1, 1) : a;
    for (int64_t n = a.first; n <= b.last; ++n) rows_[n - a.first] = slot(p % 2, n);
    float *first = out_.at(p, y), *second = both ? out_.at(p, y + 1) : unused_.get();
    const float *next = out_.at(p, row_ahead(y, out_.shape[1])), *after = out_.at(p, row_ahead(y + 1, out_.shape[1]));
    for_blocks<4>(width, [&](auto block, int64_t k) {
      constexpr int vectors = decltype(block)::vectors;
      ask_to_write<vectors>(next + k);
      ask_to_write<vectors>(after + k);
      Vector sum_a[vectors] = {}, sum_b[vectors] = {};
      sum_rows(rows_.get(), a, b, k, lanes, sum_a, sum_b);
      store_block(first + k, sum_a, width - k);
      store_block(second + k, sum_b, width - k);
    });
  }

  float* slot(int64_t plane, int64_t y) { return &ring_[(plane * slots_ + y % slots_) * row_]; }

  ConstVolume values_;
  Volume out_;
  int64_t radius_;
  Window z_, y_, x_;
  int64_t row_, slots_;
  Scratch<float> lines_, ring_, unused_;
  Scratch<const float*> rows_;
};

}  // namespace

void smooth(ConstField values, View<const float, 2> taps, Field out) {
  const int64_t depth = values.shape[1], height = values.shape[2], width = values.shape[3];
  const int64_t planes = lower(2 * taps.shape[1], depth);
  const int64_t tiles = tile_count(height, planes * width * static_cast<int64_t>(sizeof(float)));
  parallel_for(values.shape[0] * tiles, [&](int64_t n) {
    Smoother(values[n / tiles], taps, out[n / tiles]).run(tile(n % tiles, tiles, height));
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
