// Direct 3x3x3 convolution with strides, for float32 and bfloat16. For kernel files only: see base/dispatch.hpp.
//
// With a stride of 2, even positions along an axis are stored apart from odd ones, so that vectors run along voxels of
// the output. Rows are consecutive, so that vectors run across their ends.
#pragma once

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "network/tiles.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// An axis of a gathered input. With a stride of 2, class 0 is of odd positions, from -1 on, and class 1 of even ones.
struct StridedAxis {
  int64_t stride, inputs, outputs;

  // Return the class and the position of tap t of the first output.
  int64_t kind(int64_t t) const { return stride == 2 && t == 1 ? 1 : 0; }
  int64_t position(int64_t t) const { return stride == 2 ? t / 2 : t; }
};

struct StridedGrid {
  StridedAxis z, y, x;
  int64_t rows, span, block, plane;  // rows of a task; sizes: gathered row, rows of a class, one plane of a channel
};

inline StridedGrid strided_grid(const int64_t (&inputs)[3], const int64_t* outputs, const int64_t (&stride)[3]) {
  StridedGrid grid{};
  grid.z = {stride[0], inputs[0], outputs[0]};
  grid.y = {stride[1], inputs[1], outputs[1]};
  grid.x = {stride[2], inputs[2], outputs[2]};
  grid.span = outputs[2] + 2;
  grid.rows = 416 / grid.span;  // about 20 KB for a plane of a channel
  grid.rows = grid.rows < 1 ? 1 : grid.rows > 8 ? 8 : grid.rows;
  grid.rows = grid.rows < outputs[1] ? grid.rows : outputs[1];
  grid.block = (grid.rows + 2) * grid.span + lanes;  // vectors may run beyond the last row
  grid.plane = stride[1] * stride[2] * grid.block;
  return grid;
}

// Gather a row of `inputs` values: even positions to `even`, odd ones from -1 on to `odd`; zeros outside.
template <typename T>
inline void split_row(const T* __restrict row, int32_t inputs, int32_t span, T* __restrict odd, T* __restrict even) {
  const int32_t pairs = inputs / 2;
  odd[0] = T{};
  for (int32_t n = 0; n < pairs; ++n) {
    even[n] = row[2 * n];
    odd[n + 1] = row[2 * n + 1];
  }
  if (inputs % 2) even[pairs] = row[inputs - 1];
  for (int32_t n = pairs + inputs % 2; n < span; ++n) even[n] = T{};
  for (int32_t n = pairs + 1; n < span; ++n) odd[n] = T{};
}

// Gather a row with a zero before and after.
template <typename T>
inline void pad_row(const T* __restrict row, int64_t inputs, T* __restrict to) {
  to[0] = T{};
  std::memcpy(to + 1, row, inputs * sizeof(T));
  to[inputs + 1] = T{};
}

// Gather plane i of a channel; row_of(i, j) is the address of a row of the input.
template <typename T, typename RowOf>
inline void gather_plane(const StridedGrid& grid, int64_t i, int64_t first, RowOf row_of, T* to) {
  const bool inside = i >= 0 && i < grid.z.inputs;
  const int64_t rows = grid.y.stride * (grid.rows - 1) + 3;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t j = grid.y.stride * first - 1 + r;
    T* line = to + r % grid.y.stride * grid.x.stride * grid.block + r / grid.y.stride * grid.span;
    if (!inside || j < 0 || j >= grid.y.inputs) {
      std::memset(line, 0, grid.span * sizeof(T));
      if (grid.x.stride == 2) std::memset(line + grid.block, 0, grid.span * sizeof(T));
    } else if (grid.x.stride == 2) {
      split_row(row_of(i, j), static_cast<int32_t>(grid.x.inputs), static_cast<int32_t>(grid.span), line,
                line + grid.block);
    } else {
      pad_row(row_of(i, j), grid.x.inputs, line);
    }
  }
}

// Return where the 27 neighbours of the first voxel are, in the gathered planes of a channel.
inline void strided_offsets(const StridedGrid& grid, int64_t (&offsets)[27]) {
  for (int64_t t = 0; t < 27; ++t) {
    const int64_t a = t / 9, b = t / 3 % 3, c = t % 3;
    const int64_t block = grid.y.kind(b) * grid.x.stride + grid.x.kind(c);
    offsets[t] = a * grid.plane + block * grid.block + grid.y.position(b) * grid.span + grid.x.position(c);
  }
}

// Convolve: row_of(channel, i, j) returns rows of the input, and write(sums, between, i, j, count) takes `count` rows
// from row j of plane i on, `between` from one output channel to the next, grid.span from one row to the next.
template <typename Arithmetic, typename RowOf, typename Write>
inline void convolve_with_strides(const StridedGrid& grid, int64_t channels,
                                  const Weights<typename Arithmetic::Value>& weights, RowOf row_of, Write write) {
  using Value = typename Arithmetic::Value;
  const int64_t down = (grid.y.outputs + grid.rows - 1) / grid.rows;
  const int64_t vectors = (grid.rows * grid.span + lanes - 1) / lanes, between = vectors * lanes;
  int64_t offsets[27];
  strided_offsets(grid, offsets);
  parallel_for(grid.z.outputs * down, [&](int64_t task) {
    const int64_t i = task / down, j = task % down * grid.rows, size = 3 * grid.plane, slack = 2 * lanes;
    Scratch<Value> gathered(channels * size + slack);
    Scratch<float> sums(padded_outputs(weights.outputs) * between);
    Scratch<const Value*> addresses(channels);
    for (int64_t c = 0; c < channels; ++c) {
      addresses[c] = &gathered[c * size];
      for (int64_t a = 0; a < 3; ++a) {
        gather_plane(grid, i * grid.z.stride + a - 1, j, [&](int64_t z, int64_t y) { return row_of(c, z, y); },
                     &gathered[c * size + a * grid.plane]);
      }
    }
    const Neighbours<Value> from{addresses.get(), channels, offsets, 27};
    for (int64_t o = 0; o < weights.outputs; o += kGroup) {
      float* to = &sums[o * between];
      sum_group<Arithmetic>(weights.outputs - o, vectors, from, weights.weight + o * 27 * channels, weights.bias + o,
                            [to, between](auto& tile, int first, int64_t at) {
                              store_tile(tile, to + first * between + at, between);
                            });
    }
    const int64_t left = grid.y.outputs - j;
    write(sums.get(), between, i, j, left < grid.rows ? left : grid.rows);
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
