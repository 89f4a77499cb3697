// Sums over the cube of 2 r + 1 voxels about each voxel. For kernel files only: see base/dispatch.hpp.
//
// Windows are separable. For each row of a plane the sums along the first axis are taken as its values are read, so that
// products need no memory; then sums along the row go to a ring of rows, and sums of these to the output, without
// intermediate volumes. A tile of rows passes plane by plane, so that its input stays in the second-level cache. What is
// outside of the volume is zero. Each sum has one order, whatever the tiles.
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

// A kernel has
//   channels                        the number of sums
//   inputs, input(n)                the volumes that add() reads
//   add<V>(at, left, sums)          add the values of voxels at, at + 1, ... of the flat volume to sums[channels][V]
//   row(i, y) -> Row                what takes the sums of the windows about the voxels of a row:
//   Row::take(k, left, sums), Row::finish()
template <typename Kernel>
class BoxWindow {
 public:
  BoxWindow(const Kernel& kernel, Windows w)
      : kernel_(kernel), w_(w), line_(padded(w.width) + 2 * w.radius + lanes), slots_(lower(2 * w.radius + 1, w.height)),
        slot_(channels * padded(w.width)), lines_(channels * line_), ring_(slots_ * slot_), rows_(slots_) {
    for (int64_t n = 0; n < channels * line_; ++n) lines_[n] = 0.0f;
  }

  // Compute the sums of rows [first, end) of all planes.
  void run(Tile tile) {
    for (int64_t i = 0; i < w_.depth; ++i) {
      int64_t next = higher(tile.first - w_.radius, 0);
      for (int64_t y = tile.first; y < tile.end; ++y) {
        const int64_t last = lower(y + w_.radius, w_.height - 1);
        for (; next <= last; ++next) fill(i, next);
        finish(i, y, last);
      }
    }
  }

 private:
  static constexpr int channels = Kernel::channels;

  // Compute row y of the sums along the first and the last axis.
  void fill(int64_t i, int64_t y) {
    const int64_t top = higher(i - w_.radius, 0), bottom = lower(i + w_.radius, w_.depth - 1);
    const int64_t ahead = (bottom * w_.height + row_ahead(y, w_.height)) * w_.width;
    for_blocks<box_vectors>(w_.width, [&](auto block, int64_t k) {
      constexpr int vectors = decltype(block)::vectors;
      for (int n = 0; n < Kernel::inputs; ++n) ask_for<vectors>(kernel_.input(n) + ahead + k);
      Vector sums[channels][vectors] = {};
      for (int64_t p = top; p <= bottom; ++p) {
        kernel_.template add<vectors>((p * w_.height + y) * w_.width + k, w_.width - k, sums);
      }
      for (int c = 0; c < channels; ++c) {
        for (int v = 0; v < vectors; ++v) store(&lines_[c * line_ + w_.radius + k + v * lanes], sums[c][v]);
      }
    });
    for (int c = 0; c < channels; ++c) sum_along(&lines_[c * line_], ring_.get() + y % slots_ * slot_ + c * lanes);
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

  // Sum rows of the ring up to `last`, and give them to the kernel.
  void finish(int64_t i, int64_t y, int64_t last) {
    int64_t count = 0;
    for (int64_t n = higher(y - w_.radius, 0); n <= last; ++n) rows_[count++] = ring_.get() + n % slots_ * slot_;
    auto row = kernel_.row(i, y);
    for_blocks<box_vectors>(w_.width, [&](auto block, int64_t k) {
      constexpr int vectors = decltype(block)::vectors;
      Vector sums[vectors][channels] = {};
      for (int64_t n = 0; n < count; ++n) {
        const float* from = rows_[n] + k * channels;
        for (int v = 0; v < vectors; ++v) {
          for (int c = 0; c < channels; ++c) sums[v][c] += load(from + (v * channels + c) * lanes);
        }
      }
      for (int v = 0; v < vectors; ++v) row.take(k + v * lanes, w_.width - k - v * lanes, sums[v]);
    });
    row.finish();
  }

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
