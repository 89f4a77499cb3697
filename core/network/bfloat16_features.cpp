#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "network/bfloat16.hpp"
#include "network/bfloat16_arithmetic.hpp"
#include "network/channels_last.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int64_t kBlockPairs = 4;

// Round `width` pairs of neighbours along a row: they are the channels of a pair.
void round_neighbours(const float* row, int64_t width, int32_t* out) {
  for (int64_t k = 0; k < width; k += lanes) {
    const int64_t left = 2 * (width - k);
    const Vector first = load_first(row + 2 * k, left), second = load_first(row + 2 * k + lanes, left - lanes);
    const __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    const int64_t count = width - k;
    _mm512_mask_storeu_epi32(out + k, count >= lanes ? (__mmask16)0xffff : (__mmask16)((1u << count) - 1), pairs);
  }
}

typedef uint16_t Halves __attribute__((vector_size(32)));
typedef uint32_t Words __attribute__((vector_size(64)));

// Return eight channels of two voxels from eight pairs, as float32.
[[gnu::always_inline]] inline Sixteen widen(__m256i pairs) {
  return (Sixteen)(__builtin_convertvector((Halves)pairs, Words) << 16);
}

// voxels[k][p] = the interpolated pairs in the cells.
void interpolate_pairs(const int32_t* block, const Steps& steps, Cells cells, int64_t width, int32_t* voxels) {
  const bool pair = steps.right > 0;
  for (int64_t k = 0; k < width; ++k) {
    const Eight found = interpolate_eight(
        kBlockPairs * int64_t{cells.corner[k]}, steps, cells.z[k], cells.y[k], cells.x[k], [block, pair](int64_t at) {
          const __m128i* from = reinterpret_cast<const __m128i*>(block + at);
          return widen(pair ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))
                            : _mm256_broadcastsi128_si256(_mm_loadu_si128(from)));
        });
    _mm_storeu_si128(reinterpret_cast<__m128i*>(voxels + kBlockPairs * k), (__m128i)_mm256_cvtneps_pbh((__m256)found));
  }
}

// out[p][k] = voxels[k][p] for all four pairs.
void split_voxels(const int32_t* __restrict voxels, int32_t width, int32_t* __restrict a, int32_t* __restrict b,
                  int32_t* __restrict c, int32_t* __restrict d) {
  for (int32_t k = 0; k < width; ++k) {
    a[k] = voxels[4 * k];
    b[k] = voxels[4 * k + 1];
    c[k] = voxels[4 * k + 2];
    d[k] = voxels[4 * k + 3];
  }
}

void join_pairs(const int32_t* __restrict a, const int32_t* __restrict b, const int32_t* __restrict c,
                const int32_t* __restrict d, int32_t width, int32_t* __restrict voxels) {
  for (int32_t k = 0; k < width; ++k) {
    voxels[4 * k] = a[k];
    voxels[4 * k + 1] = b[k];
    voxels[4 * k + 2] = c[k];
    voxels[4 * k + 3] = d[k];
  }
}

}  // namespace

void space_to_depth_bfloat16(ConstVolume image, const int64_t (&pool)[3], Pairs<int32_t> out) {
  const int64_t height = out.shape[1], width = out.shape[2], rows = pool[0] * pool[1];
  parallel_for(out.shape[0], [&](int64_t i) {
    const auto row_of = [&](int64_t n, int64_t j) {
      return image.at(pool[0] * i + n / pool[1], pool[1] * j + n % pool[1]);
    };
    for (int64_t j = 0; j < height; ++j) {
      for (int64_t p = 0; p < out.count; ++p) {
        if (pool[2] == 2) {
          if (p < rows) round_neighbours(row_of(p, j), width, out.at(p, i, j));
        } else if (2 * p < rows) {
          pack_rows(row_of(2 * p, j), 2 * p + 1 < rows ? row_of(2 * p + 1, j) : nullptr, width, out.at(p, i, j));
        }
      }
    }
  });
}

void pack_bfloat16(ConstField values, Pairs<int32_t> out) {
  const int64_t channels = values.shape[0];
  parallel_for(out.shape[0], [&](int64_t i) {
    for (int64_t p = 0; 2 * p < channels; ++p) {
      for (int64_t j = 0; j < out.shape[1]; ++j) {
        const float* high = 2 * p + 1 < channels ? values.at(2 * p + 1, i, j) : nullptr;
        pack_rows(values.at(2 * p, i, j), high, out.shape[2], out.at(p, i, j));
      }
    }
  });
}

void repeat_bfloat16(Pairs<const int32_t> features, const int64_t (&pool)[3], Pairs<int32_t> out) {
  const int32_t width = static_cast<int32_t>(out.shape[2]), along = static_cast<int32_t>(pool[2]) - 1;
  parallel_for(out.shape[0], [&](int64_t i) {
    for (int64_t p = 0; p < out.count; ++p) {
      for (int64_t j = 0; j < out.shape[1]; ++j) {
        const int32_t* __restrict from = features.at(p, i / pool[0], j / pool[1]);
        int32_t* __restrict to = out.at(p, i, j);
        for (int32_t k = 0; k < width; ++k) to[k] = from[k >> along];
      }
    }
  });
}

void correlate_bfloat16(Pairs<const int32_t> fixed, Pairs<const int32_t> warped, int64_t channels, Pairs<int32_t> out) {
  const int64_t width = out.shape[2], span = (width + lanes - 1) / lanes * lanes;
  parallel_for(out.shape[0], [&](int64_t i) {
    Scratch<float> sums(28 * span);
    std::memset(&sums[27 * span], 0, span * sizeof(float));
    for (int64_t j = 0; j < out.shape[1]; ++j) {
      for (int64_t n = 0; n < 27; ++n) {
        for (int64_t k = 0; k < width; k += lanes) {
          Vector sum{};
          for (int64_t p = 0; p < fixed.count; ++p) {  // margins of zeros
            const int32_t* other = warped.at(p, i + n / 9 - 1, j + n / 3 % 3 - 1) + n % 3 - 1;
            const __m512i a = _mm512_loadu_si512(fixed.at(p, i, j) + k), b = _mm512_loadu_si512(other + k);
            sum = Bfloat16Arithmetic::add(sum, a, b);
          }
          store(&sums[n * span + k], sum / static_cast<float>(channels));
        }
      }
      for (int64_t p = 0; p < 14; ++p) {
        pack_rows(&sums[2 * p * span], &sums[(2 * p + 1) * span], width, out.at(p, i, j));
      }
    }
  });
}

void to_channels_last_bfloat16(Pairs<const int32_t> features, View<int32_t, 5> out) {
  const int64_t height = out.shape[2], width = out.shape[3];
  parallel_for(out.shape[1], [&](int64_t i) {
    Scratch<int32_t> zeros(width);
    std::memset(zeros.get(), 0, width * sizeof(int32_t));
    for (int64_t j = 0; j < height; ++j) {
      for (int64_t p = 0; p < features.count; p += kBlockPairs) {
        const auto row = [&](int64_t n) { return p + n < features.count ? features.at(p + n, i, j) : zeros.get(); };
        join_pairs(row(0), row(1), row(2), row(3), static_cast<int32_t>(width), out.at(p / kBlockPairs, i, j));
      }
    }
  });
}

void warp_channels_last_bfloat16(View<const int32_t, 5> features, ConstField displacement, Pairs<int32_t> out) {
  const int64_t height = out.shape[1], width = out.shape[2];
  const Steps steps = steps_of(out.shape, kBlockPairs);
  parallel_for(out.shape[0], [&](int64_t i) {
    const RowCells memory(width);
    Scratch<int32_t> voxels(kBlockPairs * width), spare(width);
    for (int64_t j = 0; j < height; ++j) {
      const Cells cells = memory.find(out.shape, displacement, i, j);
      for (int64_t p = 0; p < out.count; p += kBlockPairs) {
        interpolate_pairs(features.at(p / kBlockPairs), steps, cells, width, voxels.get());
        const auto row = [&](int64_t n) { return p + n < out.count ? out.at(p + n, i, j) : spare.get(); };
        split_voxels(voxels.get(), static_cast<int32_t>(width), row(0), row(1), row(2), row(3));
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
