#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "network/bfloat16.hpp"
#include "network/bfloat16_arithmetic.hpp"
#include "network/strided.hpp"
#include "network/tiles.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Where the 27 neighbours of a voxel are, from the first one on, which may be in the margin.
void find_offsets(int64_t plane, int64_t row, int64_t (&offsets)[27]) {
  for (int64_t t = 0; t < 27; ++t) offsets[t] = t / 9 * plane + t / 3 % 3 * row + t % 3;
}

// Stores leaky ReLUs of sums as pairs, and zeros in the margins.
struct StorePairs {
  float slope;
  const int32_t* mask;
  int32_t* out;
  int64_t size;  // between pairs

  template <int Outputs, int Vectors>
  [[gnu::always_inline]] void operator()(Vector (&sums)[Outputs][Vectors], int first, int64_t at) const {
    if constexpr (Outputs % 2 != 0) return;  // tiles of flows, which are not stored as pairs
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      const __m512i inside = _mm512_loadu_si512(mask + at + v * lanes);
#pragma GCC unroll 4
      for (int p = 0; p < Outputs / 2; ++p) {
        const Vector low = leaky_relu(sums[2 * p][v], slope), high = leaky_relu(sums[2 * p + 1][v], slope);
        int32_t* to = out + (first / 2 + p) * size + at + v * lanes;
        _mm512_storeu_si512(to, _mm512_and_si512(pack(low, high), inside));
      }
    }
  }
};

// Set mask[j row + k] = -1 for voxels, and 0 in margins.
void fill_mask(int64_t height, int64_t width, int64_t row, int32_t* mask) {
  for (int64_t j = 0; j < height; ++j) {
    for (int64_t k = 0; k < row; ++k) mask[j * row + k] = k < width ? -1 : 0;
  }
  std::memset(mask + height * row, 0, lanes * sizeof(int32_t));
}

// Return the neighbours of plane i, from its first voxel on; `addresses` is scratch for each channel.
Neighbours<int32_t> plane_of(const Channels<int32_t>& source, int64_t begin, const int64_t* offsets,
                             const int32_t** addresses) {
  for (int64_t c = 0; c < source.count; ++c) addresses[c] = source.data[c] + begin;
  return {addresses, source.count, offsets, 27};
}

}  // namespace

void convolve_bfloat16(const Channels<int32_t>& source, const Weights<int32_t>& weights, Pairs<int32_t> out) {
  const int64_t row = out.row(), plane = out.plane(), voxels = out.shape[1] * row;
  int64_t offsets[27];
  find_offsets(plane, row, offsets);
  Scratch<int32_t> mask(voxels + lanes);
  fill_mask(out.shape[1], out.shape[2], row, mask.get());
  parallel_for(out.shape[0], [&](int64_t i) {
    Scratch<const int32_t*> addresses(source.count);
    // Parts of a plane, whose sources stay in the cache for all groups of outputs.
    constexpr int64_t part = 48 * lanes;
    for (int64_t at = 0; at < voxels; at += part) {
      const int64_t vectors = ((voxels - at < part ? voxels - at : part) + lanes - 1) / lanes;
      const Neighbours<int32_t> from = plane_of(source, i * plane + at, offsets, addresses.get());
      for (int64_t o = 0; o < weights.outputs; o += kGroup) {
        const int64_t left = weights.outputs - o;
        const StorePairs store{weights.slope, mask.get() + at, out.at(o / 2, i, 0) + at, out.size()};
        sum_group<Bfloat16Arithmetic>(left <= kHalfGroup ? kHalfGroup : left, vectors, from,
                                      weights.weight + o * 27 * source.count, weights.bias + o, store);
      }
    }
  });
}

void convolve_strided_bfloat16(const Channels<int32_t>& source, const Weights<int32_t>& weights,
                               const int64_t (&stride)[3], Pairs<int32_t> out) {
  const Pairs<const int32_t> from{nullptr, 1, {source.shape[0], source.shape[1], source.shape[2]}};
  const StridedGrid grid = strided_grid(source.shape, out.shape, stride);
  const int64_t row = from.row(), plane = from.plane(), width = out.shape[2];
  const float slope = weights.slope;
  // Both channels of all pairs are computed, those of padding as zeros.
  const int64_t outputs = padded_outputs(weights.outputs);
  const Weights<int32_t> padded{weights.weight, weights.bias, slope, outputs};
  const auto row_of = [&](int64_t c, int64_t i, int64_t j) {
    return source.data[c] + (i + 1) * plane + (j + 1) * row + 1;
  };
  const auto write = [&](float* sums, int64_t between, int64_t i, int64_t j, int64_t count) {
    for (int64_t n = 0; n < outputs * between; n += lanes) store(sums + n, leaky_relu(load(sums + n), slope));
    for (int64_t p = 0; 2 * p < outputs; ++p) {
      for (int64_t r = 0; r < count; ++r) {
        const float* low = sums + 2 * p * between + r * grid.span;
        pack_rows(low, low + between, width, out.at(p, i, j + r));
      }
    }
  };
  convolve_with_strides<Bfloat16Arithmetic>(grid, source.count, padded, row_of, write);
}

void convolve_flow_bfloat16(const Channels<int32_t>& source, const Weights<int32_t>& weights, Field out) {
  const Pairs<const int32_t> grid{nullptr, 1, {out.shape[1], out.shape[2], out.shape[3]}};
  const int64_t row = grid.row(), plane = grid.plane(), vectors = (out.shape[2] * row + lanes - 1) / lanes;
  int64_t offsets[27];
  find_offsets(plane, row, offsets);
  parallel_for(out.shape[1], [&](int64_t i) {
    Scratch<const int32_t*> addresses(source.count);
    Scratch<float> sums(kHalfGroup * vectors * lanes);
    float* to = sums.get();
    const int64_t between = vectors * lanes;
    const Neighbours<int32_t> from = plane_of(source, i * plane, offsets, addresses.get());
    sum_group<Bfloat16Arithmetic>(weights.outputs, vectors, from, weights.weight, weights.bias,
                                  [to, between](auto& tile, int first, int64_t at) {
                                    store_tile(tile, to + first * between + at, between);
                                  });
    for (int64_t o = 0; o < out.shape[0]; ++o) {
      for (int64_t j = 0; j < out.shape[2]; ++j) {
        std::memcpy(out.at(o, i, j), to + o * between + j * row, out.shape[3] * sizeof(float));
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
