// Tiles of rows: what one thread computes at a time. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>

#include "base/parallel.hpp"
#include "refinement/blocks.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Rows [first, end) of all planes.
struct Tile {
  int64_t first, end;
};

// Bytes that the planes which a window covers may take within a tile: they are read from the second-level cache.
constexpr int64_t tile_bytes = 512 << 10;

// Return the number of tiles of `height` rows of which each takes `row_bytes` of cache: a multiple of the threads, so
// that all have equal work.
inline int64_t tile_count(int64_t height, int64_t row_bytes) {
  const int64_t rows = higher(tile_bytes / row_bytes, 8), threads = thread_count();
  const int64_t tiles = (height + rows - 1) / rows;
  return lower((tiles + threads - 1) / threads * threads, (height + 1) / 2);
}

// Return a tile. All begin at even rows, so that pairs of rows are the same whatever the tiles.
[[gnu::always_inline]] inline Tile tile(int64_t index, int64_t tiles, int64_t height) {
  const int64_t pairs = (height + 1) / 2;
  return {2 * (index * pairs / tiles), lower(2 * ((index + 1) * pairs / tiles), height)};
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
