#include "network/convolution.hpp"
#include "network/strided.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

void convolve_strided(const Channels<float>& source, const Weights<float>& weights, const int64_t (&stride)[3],
                      Field out) {
  const StridedGrid grid = strided_grid(source.shape, out.shape + 1, stride);
  const auto row_of = [&](int64_t c, int64_t i, int64_t j) {
    return source.data[c] + (i * source.shape[1] + j) * source.shape[2];
  };
  const float slope = weights.slope;
  const auto write = [&](float* sums, int64_t between, int64_t i, int64_t j, int64_t count) {
    for (int64_t o = 0; o < out.shape[0]; ++o) {
      float* channel = sums + o * between;
      for (int64_t n = 0; n < between; n += lanes) store(channel + n, leaky_relu(load(channel + n), slope));
      for (int64_t r = 0; r < count; ++r) {
        std::memcpy(out.at(o, i, j + r), channel + r * grid.span, out.shape[3] * sizeof(float));
      }
    }
  };
  convolve_with_strides<Float32Arithmetic>(grid, source.count, weights, row_of, write);
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
