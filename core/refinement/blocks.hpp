// Rows in blocks of vectors, and windows along them. For kernel files only: see base/dispatch.hpp.
//
// Full blocks have enough independent sums to hide the latency of additions; the rest of a row is done vector by
// vector.
// Rows in scratch memory are padded to whole vectors.
#pragma once

#include <cstdint>

#include "base/simd.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// A number of neighbouring vectors, as a type.
template <int Vectors>
struct Block {
  static constexpr int vectors = Vectors;
};

// Return the floats of a padded row.
[[gnu::always_inline]] inline int64_t padded(int64_t width) { return (width + lanes - 1) / lanes * lanes; }

// Call body(Block<n>, k) for blocks of `Largest`, then of fewer vectors, that cover [0, width). Only the last block, of
// one vector, may be in part outside.
template <int Largest, typename Body>
[[gnu::always_inline]] inline void for_blocks(int64_t width, Body body) {
  int64_t k = 0;
  for (; k + Largest * lanes <= width; k += Largest * lanes) body(Block<Largest>{}, k);
  if constexpr (Largest > 2) {
    for (; k + 2 * lanes <= width; k += 2 * lanes) body(Block<2>{}, k);
  }
  for (; k < width; k += lanes) body(Block<1>{}, k);
}

// Load the vectors of a block of a row; `left` voxels from there on are in the row. Others are 0.
template <int Vectors>
[[gnu::always_inline]] inline void load_block(const float* from, int64_t left, Vector (&to)[Vectors]) {
  if constexpr (Vectors == 1) {
    to[0] = load_first(from, left);
  } else {
    for (int v = 0; v < Vectors; ++v) to[v] = load(from + v * lanes);
  }
}

// Store the vectors of a block of a row, at most `left` voxels.
template <int Vectors>
[[gnu::always_inline]] inline void store_block(float* to, const Vector (&values)[Vectors], int64_t left) {
  if constexpr (Vectors == 1) {
    store_first(to, values[0], left);
  } else {
    for (int v = 0; v < Vectors; ++v) store(to + v * lanes, values[v]);
  }
}

// Kernels read and write more volumes at a time than processors prefetch by themselves. Rows so far ahead are asked for
// vector by vector, which made composition 1.6 times as fast.
constexpr int64_t rows_ahead = 2;

// Return the row that is asked for while row y is computed.
[[gnu::always_inline]] inline int64_t row_ahead(int64_t y, int64_t height) {
  return y + rows_ahead < height ? y + rows_ahead : height - 1;
}

// Ask for the vectors at `from`, to read them. Always inline: GCC drops calls of functions that do nothing else.
template <int Vectors = 1>
[[gnu::always_inline]] inline void ask_for(const float* from) {
  for (int v = 0; v < Vectors; ++v) __builtin_prefetch(from + v * lanes, 0);
}

// Ask for the vectors at `to`, to write them.
template <int Vectors = 1>
[[gnu::always_inline]] inline void ask_to_write(const float* to) {
  for (int v = 0; v < Vectors; ++v) __builtin_prefetch(to + v * lanes, 1);
}

[[gnu::always_inline]] inline int64_t lower(int64_t a, int64_t b) { return a < b ? a : b; }
[[gnu::always_inline]] inline int64_t higher(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace lightcrcf::LIGHTCRCF_ISA
