#include "sampling/upsample.hpp"

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "sampling/lines.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

void upsample(ConstField coarse, Field out) {
  const int64_t height = out.shape[2], width = out.shape[3];
  parallel_for(out.shape[1], [&](int64_t i) {
    Scratch<float> scratch(coarse.shape[3] + 2);
    for (int64_t c = 0; c < out.shape[0]; ++c) {
      for (int64_t j = 0; j < height; ++j) upsampled_row(coarse[c], i, j, width, scratch.get(), out.at(c, i, j));
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
