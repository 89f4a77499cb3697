#include "affine/block_mean.hpp"

#include <cfloat>

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// sums[k] += row[k] where it is finite.
void add_finite(const float* __restrict row, int64_t count, double* __restrict sums) {
  for (int64_t k = 0; k < count; ++k) {
    const float value = row[k];
    sums[k] += __builtin_fabsf(value) <= FLT_MAX ? value : 0.0f;
  }
}

// out[c] = sum of sums[c width : (c + 1) width] / (rows width), for whole blocks. `Width` is known to the compiler.
template <int64_t Width>
void divide_blocks(const double* __restrict sums, int64_t width, int64_t rows, int64_t count, float* __restrict out) {
  if (Width > 0) width = Width;
  const double voxels = static_cast<double>(rows * width);
  for (int64_t c = 0; c < count; ++c) {
    double total = sums[c * width];
    for (int64_t k = 1; k < width; ++k) total += sums[c * width + k];
    out[c] = static_cast<float>(total / voxels);
  }
}

// out = means of blocks of `rows` rows, from sums over these rows of `length` voxels.
void write_means(const double* sums, int64_t length, int64_t width, int64_t rows, float* out) {
  const int64_t whole = length / width, rest = length % width;
  const auto divide = width == 1 ? divide_blocks<1> : width == 2 ? divide_blocks<2> : divide_blocks<0>;
  divide(sums, width, rows, whole, out);
  if (rest > 0) divide_blocks<0>(sums + whole * width, rest, rows, 1, out + whole);
}

}  // namespace

void block_mean(ConstVolume data, BlockShape block, Volume out) {
  const int64_t depth = data.shape[0], height = data.shape[1], width = data.shape[2];
  parallel_for(out.shape[0], [&](int64_t a) {
    const Scratch<double> sums(width);
    const int64_t last = least((a + 1) * block.depth, depth);
    for (int64_t b = 0; b < out.shape[1]; ++b) {
      const int64_t first_row = b * block.height, last_row = least(first_row + block.height, height);
      std::memset(sums.get(), 0, width * sizeof(double));
      for (int64_t i = a * block.depth; i < last; ++i) {
        for (int64_t j = first_row; j < last_row; ++j) add_finite(data.at(i, j), width, sums.get());
      }
      write_means(sums.get(), width, block.width, (last - a * block.depth) * (last_row - first_row), out.at(a, b));
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
