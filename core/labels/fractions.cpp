#include "labels/fractions.hpp"

#include <cstring>

#include "base/parallel.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Add `share` to the channel of each label of a row, for blocks of `width` voxels; out points at the row of channel 0.
void add_row(const int32_t* labels, int64_t width, float share, const Field& fractions, float* out) {
  const int64_t stride = fractions.shape[1] * fractions.shape[2] * fractions.shape[3];
  const uint32_t count = static_cast<uint32_t>(fractions.shape[0]);
  for (int64_t k = 0; k < fractions.shape[3]; ++k) {
    for (int64_t c = 0; c < width; ++c) {
      const uint32_t channel = static_cast<uint32_t>(*labels++) - 1u;
      if (channel < count) out[channel * stride + k] += share;
    }
  }
}

}  // namespace

void label_fractions(View<const int32_t, 3> labels, Field out) {
  const int64_t height = out.shape[2], width = out.shape[3];
  const int64_t a = labels.shape[0] / out.shape[1], b = labels.shape[1] / height, c = labels.shape[2] / width;
  const float share = static_cast<float>(1.0 / static_cast<double>(a * b * c));
  parallel_for(out.shape[1], [&](int64_t i) {
    for (int64_t n = 0; n < out.shape[0]; ++n) std::memset(out.at(n, i), 0, height * width * sizeof(float));
    for (int64_t plane = i * a; plane < (i + 1) * a; ++plane) {
      for (int64_t j = 0; j < height * b; ++j) {
        add_row(labels.at(plane, j), c, share, out, out.data + (i * height + j / b) * width);
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
