// Sums over the cube of 2 r + 1 voxels about each voxel. For kernel files only: see base/dispatch.hpp.
//
// Windows are separable. For each row of a plane the sums along the first axis are taken as its values are read, so
// that products need no memory; then sums along the row go to a ring of rows, and sums of these to the output, without
// intermediate volumes. A tile of rows passes plane by plane, so that its input stays in the second-level cache. What
// is outside of the volume is zero. Each sum has one order, whatever the tiles.
#pragma once

#include "base/scratch.hpp"
#include "refinement/blocks.hpp"
#include "refinement/tiles.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// With fewer registers sums of all channels would not fit.
constexpr int box_vectors = lanes == 16 ? 2 : 1;

// The shape of a volume and the radius of the windows, in voxels.
struct Windows {
  int64_t depth, height, width, radius;
};

// The windows about two neighbouring places, or twice about one, along an axis: the first one covers the places [first,
// end], the second one [begin, last].
struct Overlap {
  int64_t first, begin, end, last;

  Overlap(int64_t place, int64_t neighbour, int64_t radius, int64_t size)
      : first(higher(place - radius, 0)), begin(higher(neighbour - radius, 0)), end(lower(place + radius, size - 1)),
        last(lower(neighbour + radius, size - 1)) {}
};

// A kernel has
//   channels                        the number of sums
//   inputs, input(n)                the volumes that add() reads
//   add<V>(at, left, sums)          add the values of voxels at, at + 1, ... of the flat volume to sums[channels][V]
//   row(i, y) -> Row                what takes the sums of the windows about the voxels of a row:
//   Row::take(k, left, sums), Row::finish()
//
// Planes and rows are done in pairs, whose windows have most of their places in common.
template <typename Kernel>
class BoxWindow {
 public:
  BoxWindow(const Kernel& kernel, Windows w)
      : kernel_(kernel), w_(w), line_(padded(w.width) + 2 * w.radius + lanes),
        slots_(lower(2 * w.radius + 2, w.height)), slot_(channels * padded(w.width)),
        lines_(2 * channels * line_), ring_(2 * slots_ * slot_), rows_(slots_) {
    for (int64_t n = 0; n < 2 * channels * line_; ++n) lines_[n] = 0.0f;
  }

  // Compute the sums of a tile.
  void run(Tile tile) {
    for (int64_t i = 0; i < w_.depth; i += 2) {
      const int64_t other = lower(i + 1, w_.depth - 1);
      const Overlap planes(i, other, w_.radius, w_.depth);
      int64_t next = higher(tile.first - w_.radius, 0);
      for (int64_t y = tile.first; y < tile.end; y += 2) {
        const Overlap rows(y, lower(y + 1, tile.end - 1), w_.radius, w_.height);
        for (; next <= rows.last; ++next) fill(planes, next);
        for (int64_t p = i; p <= other; ++p) finish(p, y, y + 1 < tile.end, rows);
      }
    }
  }

 private:
  static constexpr int channels = Kernel::channels;

  // Compute row y of the sums along the first and the last axis, of two planes.
  void fill(Overlap planes, int64_t y) {
    const auto add = [&](int64_t p, int64_t k, auto& sums) {
      kernel_.add((p * w_.height + y) * w_.width + k, w_.width - k, sums);
    };
    const int64_t ahead = (planes.last * w_.height + row_ahead(y, w_.height)) * w_.width;
    const int64_t before = planes.last > planes.end ? w_.height * w_.width : 0;
    for_blocks<box_vectors>(w_.width, [&](auto block, int64_t k) {
      constexpr int vectors = decltype(block)::vectors;
      for (int n = 0; n < Kernel::inputs; ++n) {
        ask_for<vectors>(kernel_.input(n) + ahead + k);
        ask_for<vectors>(kernel_.input(n) + ahead - before + k);
      }
      Vector common[channels][vectors] = {};
      for (int64_t p = planes.begin; p <= planes.end; ++p) add(p, k, common);
      Vector sums[channels][vectors];
      for (int c = 0; c < channels; ++c) {
        for (int v = 0; v < vectors; ++v) sums[c][v] = common[c][v];
      }
      for (int64_t p = planes.first; p < planes.begin; ++p) add(p, k, sums);
      keep(0, k, sums);
      for (int64_t p = planes.end + 1; p <= planes.last; ++p) add(p, k, common);
      keep(1, k, common);
    });
    for (int n = 0; n < 2 * channels; ++n) sum_along(&lines_[n * line_], slot(n / channels, y) + n % channels * lanes);
  }

  // Store sums in the lines of a plane.
  template <int Vectors>
  [[gnu::always_inline]] void keep(int plane, int64_t k, const Vector (&sums)[channels][Vectors]) {
    for (int c = 0; c < channels; ++c) {
      float* line = &lines_[(plane * channels + c) * line_ + w_.radius + k];
      for (int v = 0; v < Vectors; ++v) store(line + v * lanes, sums[c][v]);
    }
  }

  // Sum over windows along a line; vectors of the channels alternate in the ring.
  void sum_along(const float* __restrict line, float* __restrict out) {
    const int64_t window = 2 * w_.radius + 1;
    for_blocks<4>(padded(w_.width), [&](auto block, int64_t k) {
      constexpr int vectors = decltype(block)::vectors;
      Vector sums[vectors];
      for (int v = 0; v < vectors; ++v) sums[v] = load(line + k + v * lanes);
      for (int64_t n = 1; n < window; ++n) {
        for (int v = 0; v < vectors; ++v) sums[v] += load(line + k + n + v * lanes);
      }
      for (int v = 0; v < vectors; ++v) store(out + (k + v * lanes) * channels, sums[v]);
    });
  }

  // Sum rows of the ring, and give row y of plane i, and the next one if there are `both`, to the kernel.
  void finish(int64_t i, int64_t y, bool both, Overlap rows) {
    for (int64_t n = rows.first; n <= rows.last; ++n) rows_[n - rows.first] = slot(i % 2, n);
    const float* const* row = rows_.get() - rows.first;
    auto here = kernel_.row(i, y), next = kernel_.row(i, both ? y + 1 : y);
    for_blocks<box_vectors>(w_.width, [&](auto block, int64_t k) {
      constexpr int vectors = decltype(block)::vectors;
      Vector common[vectors][channels] = {}, sums[vectors][channels];
      for (int64_t n = rows.begin; n <= rows.end; ++n) add_row(row[n], k, common);
      for (int v = 0; v < vectors; ++v) {
        for (int c = 0; c < channels; ++c) sums[v][c] = common[v][c];
      }
      for (int64_t n = rows.first; n < rows.begin; ++n) add_row(row[n], k, sums);
      for (int64_t n = rows.end + 1; n <= rows.last; ++n) add_row(row[n], k, common);
      for (int v = 0; v < vectors; ++v) here.take(k + v * lanes, w_.width - k - v * lanes, sums[v]);
      if (!both) return;
      for (int v = 0; v < vectors; ++v) next.take(k + v * lanes, w_.width - k - v * lanes, common[v]);
    });
    here.finish();
    if (both) next.finish();
  }

  template <int Vectors>
  [[gnu::always_inline]] static void add_row(const float* row, int64_t k, Vector (&sums)[Vectors][channels]) {
    for (int v = 0; v < Vectors; ++v) {
      for (int c = 0; c < channels; ++c) sums[v][c] += load(row + k * channels + (v * channels + c) * lanes);
    }
  }

  float* slot(int64_t plane, int64_t y) { return &ring_[(plane * slots_ + y % slots_) * slot_]; }

  const Kernel& kernel_;
  Windows w_;
  int64_t line_, slots_, slot_;
  Scratch<float> lines_, ring_;
  Scratch<const float*> rows_;
};

// Compute the sums of all windows.
template <typename Kernel>
void sum_windows(const Kernel& kernel, Windows w) {
  const int64_t planes = lower(2 * w.radius + 1, w.depth);
  const int64_t tiles = tile_count(w.height, planes * Kernel::inputs * w.width * static_cast<int64_t>(sizeof(float)));
  parallel_for(tiles, [&](int64_t t) { BoxWindow<Kernel>(kernel, w).run(tile(t, tiles, w.height)); });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
