#include "affine/correlation.hpp"

#include "affine/moments.hpp"
#include "base/parallel.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int kSums = 6;
constexpr int64_t kBatch = 64;  // matrices whose planes are in memory at once

// Write the sums of plane i.
void add_plane(const Alignment& images, Matrix matrix, int64_t i, double* out) {
  const SampleMemory memory(images.fixed.shape[2]);
  ImageSums sums;
  for (int64_t j = 0; j < images.fixed.shape[1]; ++j) {
    Samples samples = memory.samples();
    if (!find_samples(images, matrix, i, j, samples)) continue;
    interpolate(images, samples);
    pad(samples);
    add_images(samples, sums);
  }
  const DoubleVector each[kSums] = {sums.mm, sums.m, sums.mf, sums.one, sums.f, sums.ff};
  for (int n = 0; n < kSums; ++n) out[n] = sum(each[n]);
}

}  // namespace

void correlation_sums(const Alignment& images, View<const double, 3> matrices, View<double, 2> out) {
  const int64_t depth = images.fixed.shape[0];
  const Scratch<double> planes(kBatch * depth * kSums);
  for (int64_t start = 0; start < matrices.shape[0]; start += kBatch) {
    const int64_t batch = least(kBatch, matrices.shape[0] - start);
    parallel_for(batch * depth, [&](int64_t n) {
      add_plane(images, matrices[start + n / depth], n % depth, &planes[n * kSums]);
    });
    for (int64_t n = 0; n < batch; ++n) {
      for (int s = 0; s < kSums; ++s) {
        double total = 0.0;
        for (int64_t i = 0; i < depth; ++i) total += planes[(n * depth + i) * kSums + s];
        out.at(start + n)[s] = total;
      }
    }
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
