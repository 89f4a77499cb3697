// Vectors of float32, as long as the registers of the instruction set. For kernel files only: see base/dispatch.hpp.
//
// The vector types of GCC and Clang have arithmetic, comparison and selection. Loops over rows should stay plain loops,
// which the compiler vectorises; vectors are for kernels where it does not, as tiles of accumulators.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace lightcrcf::LIGHTCRCF_ISA {

#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX2__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif

typedef float Vector __attribute__((vector_size(lanes * sizeof(float))));
typedef int32_t IntVector __attribute__((vector_size(lanes * sizeof(float))));

// Return from[0 : lanes].
[[gnu::always_inline]] inline Vector load(const float* from) {
  Vector values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

// to[0 : lanes] = values.
[[gnu::always_inline]] inline void store(float* to, Vector values) { std::memcpy(to, &values, sizeof values); }

// Return `value` in all lanes: one load, where `Vector{} + value` also adds, since 0 + -0 is not -0.
[[gnu::always_inline]] inline Vector broadcast(float value) {
#if defined(__AVX512F__)
  return (Vector)_mm512_set1_ps(value);
#elif defined(__AVX2__)
  return (Vector)_mm256_set1_ps(value);
#else
  return Vector{value, value, value, value};
#endif
}

#if defined(__AVX512F__)
// Return the mask of the first `count` lanes; of none for a negative count.
[[gnu::always_inline]] inline __mmask16 first_lanes(int64_t count) {
  return (__mmask16)((1u << (count > 0 ? count : 0)) - 1);
}
#endif

// Return the first `count` values, and 0 in the other lanes. Reads no memory after them; none if count is negative.
[[gnu::always_inline]] inline Vector load_first(const float* from, int64_t count) {
  if (count >= lanes) return load(from);
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_loadu_ps(first_lanes(count), from);
#else
  Vector values{};
  if (count > 0) std::memcpy(&values, from, count * sizeof(float));
  return values;
#endif
}

// to[0 : count] = values[0 : count], for at most all lanes.
[[gnu::always_inline]] inline void store_first(float* to, Vector values, int64_t count) {
  if (count >= lanes) return store(to, values);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, first_lanes(count), (__m512)values);
#else
  if (count > 0) std::memcpy(to, &values, count * sizeof(float));
#endif
}

// Return the maximum of each lane; b where either is NaN.
[[gnu::always_inline]] inline Vector maximum(Vector a, Vector b) { return a > b ? a : b; }

// Return `yes` where value > limit, else `no`; `no` for NaN.
[[gnu::always_inline]] inline Vector select_above(Vector value, Vector limit, Vector yes, Vector no) {
  return value > limit ? yes : no;
}

// Return whether a comparison holds in any lane.
[[gnu::always_inline]] inline bool any(IntVector holds) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)holds) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)holds) != 0;
#else
  int32_t found = 0;
  for (int lane = 0; lane < lanes; ++lane) found |= holds[lane];
  return found != 0;
#endif
}

[[gnu::always_inline]] inline Vector square_root(Vector values) {
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_sqrt_ps((__mmask16)0xffff, (__m512)values);  // GCC warns of the form without a mask
#elif defined(__AVX2__)
  return (Vector)_mm256_sqrt_ps((__m256)values);
#else
  for (int lane = 0; lane < lanes; ++lane) values[lane] = __builtin_sqrtf(values[lane]);
  return values;
#endif
}

// Return lanes [first, end) of from[0 : lanes], and 0 in the others, whose memory is not read; first < lanes.
[[gnu::always_inline]] inline Vector load_between(const float* from, int64_t first, int64_t end) {
#if defined(__AVX512F__)
  const uint32_t below_end = end >= lanes ? 0xffffu : (1u << end) - 1;
  return (Vector)_mm512_maskz_loadu_ps((__mmask16)(below_end & (0xffffu << first)), from);
#else
  Vector values{};
  for (int lane = 0; lane < lanes; ++lane) {
    if (lane >= first && lane < end) values[lane] = from[lane];
  }
  return values;
#endif
}

// Return from[0 : lanes], given from[-1 : lanes - 1] and from[1 : lanes + 1]: where vectors span two lines of the cache
// selecting is faster than loading.
[[gnu::always_inline]] inline Vector load_middle(const float* from, Vector before, Vector after) {
#if defined(__AVX512F__)
  static_cast<void>(from);
  const __m512i lane = _mm512_set_epi32(30, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1);
  return (Vector)_mm512_permutex2var_ps((__m512)before, lane, (__m512)after);
#else
  static_cast<void>(before), static_cast<void>(after);
  return load(from);
#endif
}

// Return the first `count` values, and 0 in the other lanes.
[[gnu::always_inline]] inline Vector keep_first(Vector values, int64_t count) {
  if (count >= lanes) return values;
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_mov_ps(first_lanes(count), (__m512)values);
#else
  Vector kept{};
  for (int lane = 0; lane < lanes; ++lane) kept[lane] = lane < count ? values[lane] : 0.0f;
  return kept;
#endif
}

// Return the values with each moved to the next lane, and `first` in the first one.
[[gnu::always_inline]] inline Vector shift_up(Vector values, float first) {
  float shifted[lanes + 1] = {first};
  store(shifted + 1, values);
  return load(shifted);
}

// Vectors of float64, for sums: half as many lanes.
constexpr int double_lanes = lanes / 2;
typedef double DoubleVector __attribute__((vector_size(double_lanes * sizeof(double))));

// Return from[0 : double_lanes] in float64.
[[gnu::always_inline]] inline DoubleVector load_double(const float* from) {
  typedef float HalfVector __attribute__((vector_size(double_lanes * sizeof(float))));
  HalfVector values;
  std::memcpy(&values, from, sizeof values);
  return __builtin_convertvector(values, DoubleVector);
}

// Return the sum of the lanes, in order.
[[gnu::always_inline]] inline double sum(DoubleVector values) {
  double total = values[0];
  for (int lane = 1; lane < double_lanes; ++lane) total += values[lane];
  return total;
}

// Return first, first + 1, first + 2, ...
[[gnu::always_inline]] inline Vector iota(float first) {
  Vector values;
  for (int lane = 0; lane < lanes; ++lane) values[lane] = first + static_cast<float>(lane);
  return values;
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
