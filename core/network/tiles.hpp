// Sums of products in tiles of accumulators in registers. For kernel files only: see base/dispatch.hpp.
//
// A tile is some output channels times some vectors of neighbouring voxels. Each loaded vector is multiplied by the
// weights of all its outputs, and each weight by all its vectors.
#pragma once

#include "base/simd.hpp"
#include "network/channels.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool many_registers = true;  // 32, else 16
#else
constexpr bool many_registers = false;
#endif

// Vectors of a tile of so many outputs: accumulators, inputs and a weight fit in the registers.
template <int Outputs>
constexpr int tile_vectors = many_registers && Outputs <= 4 ? 6 : 3;

[[gnu::always_inline]] inline Vector leaky_relu(Vector values, float slope) {
  return select_above(values, Vector{}, values, slope * values);
}

// Float32 products; bfloat16_arithmetic.hpp has the other kind.
struct Float32Arithmetic {
  using Value = float;
  using Input = Vector;
  [[gnu::always_inline]] static Input load(const float* from) { return LIGHTCRCF_ISA::load(from); }
  [[gnu::always_inline]] static Input weight(float value) { return broadcast(value); }
  [[gnu::always_inline]] static Vector add(Vector sum, Input x, Input w) { return sum + x * w; }
};

// What a sum is over: neighbours of a voxel, at `offsets` of the channels.
template <typename T>
struct Neighbours {
  const T* const* channels;
  int64_t count;
  const int64_t* offsets;
  int64_t taps;
};

// Return initial[q] + sum over channels and taps of channel[offset + at + ...] * weight[channel][tap][q].
template <typename Arithmetic, int Outputs, int Step, int Vectors>
[[gnu::always_inline]] inline void sum_tile(const Neighbours<typename Arithmetic::Value>& from, int64_t at,
                                            const typename Arithmetic::Value* weight, const float* initial,
                                            Vector (&sums)[Outputs][Vectors]) {
#pragma GCC unroll 8
  for (int q = 0; q < Outputs; ++q) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sums[q][v] = broadcast(initial[q]);
  }
  for (int64_t c = 0; c < from.count; ++c) {
    const typename Arithmetic::Value* channel = from.channels[c] + at;
    for (int64_t t = 0; t < from.taps; ++t) {
      typename Arithmetic::Input inputs[Vectors];
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) inputs[v] = Arithmetic::load(channel + from.offsets[t] + v * lanes);
#pragma GCC unroll 8
      for (int q = 0; q < Outputs; ++q) {
        const typename Arithmetic::Input factor = Arithmetic::weight(weight[q]);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) sums[q][v] = Arithmetic::add(sums[q][v], inputs[v], factor);
      }
      weight += Step;
    }
  }
}

// Store a tile, `between` from one output to the next.
template <int Outputs, int Vectors>
[[gnu::always_inline]] inline void store_tile(Vector (&sums)[Outputs][Vectors], float* to, int64_t between) {
#pragma GCC unroll 8
  for (int q = 0; q < Outputs; ++q) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) store(to + q * between + v * lanes, sums[q][v]);
  }
}

// Sum a tile at `at`, and call store(sums, first, at), with its first output.
template <typename Arithmetic, int Outputs, int Step, int Vectors, typename Store>
inline void sum_and_store(const Neighbours<typename Arithmetic::Value>& from, int64_t at,
                          const typename Arithmetic::Value* weight, const float* initial, int first, Store& store) {
  Vector sums[Outputs][Vectors];
  sum_tile<Arithmetic, Outputs, Step, Vectors>(from, at, weight, initial, sums);
  store(sums, first, at);
}

// Sum a tile of `vectors` <= Vectors.
template <typename Arithmetic, int Outputs, int Step, int Vectors, typename Store>
inline void sum_rest(int64_t vectors, const Neighbours<typename Arithmetic::Value>& from, int64_t at,
                     const typename Arithmetic::Value* weight, const float* initial, int first, Store& store) {
  if (vectors == Vectors) {
    sum_and_store<Arithmetic, Outputs, Step, Vectors>(from, at, weight, initial, first, store);
  } else if constexpr (Vectors > 1) {
    sum_rest<Arithmetic, Outputs, Step, Vectors - 1>(vectors, from, at, weight, initial, first, store);
  }
}

// Sum a line of `vectors` for outputs first, first + 1, ... of a group.
template <typename Arithmetic, int Outputs, int Step, typename Store>
inline void sum_line(int64_t vectors, const Neighbours<typename Arithmetic::Value>& from,
                     const typename Arithmetic::Value* weight, const float* initial, int first, Store& store) {
  constexpr int most = tile_vectors<Outputs>;
  int64_t n = 0;
  for (; n + most <= vectors; n += most) {
    sum_and_store<Arithmetic, Outputs, Step, most>(from, n * lanes, weight + first, initial + first, first, store);
  }
  if (n < vectors) {
    sum_rest<Arithmetic, Outputs, Step, most>(vectors - n, from, n * lanes, weight + first, initial + first, first,
                                              store);
  }
}

// Sum a line of `vectors` for a group that has `outputs` (more than 8 count as 8).
template <typename Arithmetic, typename Store>
inline void sum_group(int64_t outputs, int64_t vectors, const Neighbours<typename Arithmetic::Value>& from,
                      const typename Arithmetic::Value* weight, const float* initial, Store store) {
  if (outputs == 3) return sum_line<Arithmetic, 3, kHalfGroup>(vectors, from, weight, initial, 0, store);
  if (outputs <= kHalfGroup) return sum_line<Arithmetic, 4, kHalfGroup>(vectors, from, weight, initial, 0, store);
  if constexpr (many_registers) return sum_line<Arithmetic, 8, kGroup>(vectors, from, weight, initial, 0, store);
  sum_line<Arithmetic, 4, kGroup>(vectors, from, weight, initial, 0, store);
  sum_line<Arithmetic, 4, kGroup>(vectors, from, weight, initial, 4, store);
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
