// Vectors of pairs of bfloat16. For kernel files of AVX512-BF16 only: see base/dispatch.hpp.
#pragma once

#include <immintrin.h>

#include "base/simd.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Products of pairs for the tiles of tiles.hpp.
struct Bfloat16Arithmetic {
  using Value = int32_t;
  using Input = __m512i;
  [[gnu::always_inline]] static Input load(const int32_t* from) { return _mm512_loadu_si512(from); }
  [[gnu::always_inline]] static Input weight(int32_t pair) { return _mm512_set1_epi32(pair); }
  [[gnu::always_inline]] static Vector add(Vector sum, Input x, Input w) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
  }
};

// Round two vectors to one of pairs.
[[gnu::always_inline]] inline __m512i pack(Vector low, Vector high) {
  alignas(64) static constexpr int16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                    8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), halves);
}

// out[0 : count] = pairs of two rows.
[[gnu::always_inline]] inline void pack_rows(const float* low, const float* high, int64_t count, int32_t* out) {
  for (int64_t k = 0; k < count; k += lanes) {
    const int64_t left = count - k;
    const __m512i pairs = pack(load_first(low + k, left), high == nullptr ? Vector{} : load_first(high + k, left));
    _mm512_mask_storeu_epi32(out + k, left >= lanes ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1), pairs);
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
