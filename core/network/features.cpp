#include "network/features.hpp"

#include "base/parallel.hpp"
#include "base/scratch.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Call visit(channel, z, y, c) for the rows of blocks: each two-dimensional offset of `pool` and offset c along rows.
template <typename Visit>
void visit_rows(const int64_t (&pool)[3], int64_t i, int64_t j, Visit visit) {
  for (int64_t a = 0; a < pool[0]; ++a) {
    for (int64_t b = 0; b < pool[1]; ++b) {
      visit((a * pool[1] + b) * pool[2], pool[0] * i + a, pool[1] * j + b);
    }
  }
}

void split_row(const float* __restrict row, int32_t width, float* __restrict even, float* __restrict odd) {
  for (int32_t k = 0; k < width; ++k) {
    even[k] = row[2 * k];
    odd[k] = row[2 * k + 1];
  }
}

void join_row(const float* __restrict even, const float* __restrict odd, int32_t width, float* __restrict row) {
  for (int32_t k = 0; k < width; ++k) {
    row[2 * k] = even[k];
    row[2 * k + 1] = odd[k];
  }
}

// out[k] += fixed[k] warped[k + shift] for |shift| <= 1, 0 outside.
void add_products(const float* __restrict fixed, const float* __restrict warped, int32_t width, int32_t shift,
                  float* __restrict out) {
  const int32_t begin = shift < 0 ? 1 : 0, end = shift > 0 ? width - 1 : width;
  for (int32_t k = begin; k < end; ++k) out[k] += fixed[k] * warped[k + shift];
}

// Correlate a row of the fixed features with the row of the warped ones that is `offset` away.
void correlate_row(ConstField fixed, ConstField warped, int64_t i, int64_t j, const int64_t (&offset)[3],
                   float* __restrict out) {
  const int64_t z = i + offset[0], y = j + offset[1];
  const int32_t width = static_cast<int32_t>(fixed.shape[3]);
  std::memset(out, 0, width * sizeof(float));
  if (z < 0 || z >= fixed.shape[1] || y < 0 || y >= fixed.shape[2]) return;
  for (int64_t c = 0; c < fixed.shape[0]; ++c) {
    add_products(fixed.at(c, i, j), warped.at(c, z, y), width, static_cast<int32_t>(offset[2]), out);
  }
  const float channels = static_cast<float>(fixed.shape[0]);
  for (int32_t k = 0; k < width; ++k) out[k] /= channels;
}

}  // namespace

void space_to_depth(ConstVolume image, const int64_t (&pool)[3], Field out) {
  const int32_t width = static_cast<int32_t>(out.shape[3]);
  parallel_for(out.shape[1], [&](int64_t i) {
    for (int64_t j = 0; j < out.shape[2]; ++j) {
      visit_rows(pool, i, j, [&](int64_t channel, int64_t z, int64_t y) {
        if (pool[2] == 2) {
          split_row(image.at(z, y), width, out.at(channel, i, j), out.at(channel + 1, i, j));
        } else {
          std::memcpy(out.at(channel, i, j), image.at(z, y), width * sizeof(float));
        }
      });
    }
  });
}

void depth_to_space(ConstField blocks, const int64_t (&pool)[3], Volume out) {
  const int32_t width = static_cast<int32_t>(blocks.shape[3]);
  parallel_for(blocks.shape[1], [&](int64_t i) {
    for (int64_t j = 0; j < blocks.shape[2]; ++j) {
      visit_rows(pool, i, j, [&](int64_t channel, int64_t z, int64_t y) {
        if (pool[2] == 2) {
          join_row(blocks.at(channel, i, j), blocks.at(channel + 1, i, j), width, out.at(z, y));
        } else {
          std::memcpy(out.at(z, y), blocks.at(channel, i, j), width * sizeof(float));
        }
      });
    }
  });
}

void average_pool(ConstVolume image, const int64_t (&pool)[3], Volume out) {
  const int32_t width = static_cast<int32_t>(out.shape[2]), along = static_cast<int32_t>(pool[2]);
  const float factor = 1.0f / static_cast<float>(pool[0] * pool[1] * pool[2]);
  parallel_for(out.shape[0], [&](int64_t i) {
    for (int64_t j = 0; j < out.shape[1]; ++j) {
      float* __restrict row = out.at(i, j);
      std::memset(row, 0, width * sizeof(float));
      visit_rows(pool, i, j, [&](int64_t, int64_t z, int64_t y) {
        const float* __restrict from = image.at(z, y);
        for (int32_t k = 0; k < width; ++k) row[k] += along == 2 ? from[2 * k] + from[2 * k + 1] : from[k];
      });
      for (int32_t k = 0; k < width; ++k) row[k] *= factor;
    }
  });
}

void repeat(ConstField features, const int64_t (&pool)[3], Field out) {
  const int64_t depth = out.shape[1], height = out.shape[2];
  const int32_t width = static_cast<int32_t>(out.shape[3]), along = static_cast<int32_t>(pool[2]) - 1;
  parallel_for(out.shape[0] * depth, [&](int64_t n) {
    const int64_t c = n / depth, i = n % depth;
    for (int64_t j = 0; j < height; ++j) {
      const float* __restrict from = features.at(c, i / pool[0], j / pool[1]);
      float* __restrict to = out.at(c, i, j);
      for (int32_t k = 0; k < width; ++k) to[k] = from[k >> along];
    }
  });
}

void correlate(ConstField fixed, ConstField warped, Field out) {
  parallel_for(fixed.shape[1], [&](int64_t i) {
    for (int64_t j = 0; j < fixed.shape[2]; ++j) {
      for (int64_t n = 0; n < 27; ++n) {
        correlate_row(fixed, warped, i, j, {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1}, out.at(n, i, j));
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
