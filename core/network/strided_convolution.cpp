#include "network/convolution.hpp"
#include "network/strided.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

void convolve_strided(const Channels<float>& source, const Weights<float>& weights, const int64_t (&stride)[3],
                      Field out) {
  const StridedGrid grid = strided_grid(source.shape, out.shape + 1, stride);
  const auto row_of = [&](int64_t c, int64_t i, int64_t j) {
    return source.data[c] + (i * source.shape[1] + j) * source.shape[2];
  };
  const int32_t width = static_cast<int32_t>(out.shape[3]);
  const float slope = weights.slope;
  const auto write = [&](const float* sums, int64_t between, int64_t i, int64_t j, int64_t count) {
    for (int64_t o = 0; o < out.shape[0]; ++o) {
      for (int64_t r = 0; r < count; ++r) {
        const float* __restrict from = sums + o * between + r * grid.span;
        float* __restrict row = out.at(o, i, j + r);
        for (int32_t k = 0; k < width; ++k) row[k] = from[k] > 0.0f ? from[k] : slope * from[k];
      }
    }
  };
  convolve_with_strides<Float32Arithmetic>(grid, source.count, weights, row_of, write);
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
