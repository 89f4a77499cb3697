// Vectors of float32, as long as the registers of the instruction set. For kernel files only: see base/dispatch.hpp.
//
// The vector types of GCC and Clang have arithmetic, comparison and selection. Loops over rows should stay plain loops,
// which the compiler vectorises; vectors are for kernels where it does not, as tiles of accumulators.
#pragma once

#include <cmath>
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

// Return the first `count` values, and 0 in the other lanes. Reads no memory after them.
[[gnu::always_inline]] inline Vector load_first(const float* from, int64_t count) {
  if (count >= lanes) return load(from);
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
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
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)values);
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

[[gnu::always_inline]] inline Vector square_root(Vector values) {
#if defined(__AVX512F__)
  return (Vector)_mm512_sqrt_ps((__m512)values);
#else
  for (int lane = 0; lane < lanes; ++lane) values[lane] = __builtin_sqrtf(values[lane]);
  return values;
#endif
}

// Return first, first + 1, first + 2, ...
[[gnu::always_inline]] inline Vector iota(float first) {
  Vector values;
  for (int lane = 0; lane < lanes; ++lane) values[lane] = first + static_cast<float>(lane);
  return values;
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
