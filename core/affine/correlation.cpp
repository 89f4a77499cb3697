#include "affine/correlation.hpp"

#include "affine/moments.hpp"
#include "base/parallel.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int kSums = 6;
constexpr int64_t kBatch = 64;  // matrices whose slabs are in memory at once

// Write the sums of some planes.
void sum_planes(const Alignment& images, Matrix matrix, Range planes, double* out) {
  const SampleMemory memory(images.fixed.shape[2]);
  ImageSums sums;
  for (int64_t i = planes.first; i < planes.first + planes.count; ++i) {
    for (int64_t j = 0; j < images.fixed.shape[1]; ++j) {
      Samples samples = memory.samples();
      if (!find_samples(images, matrix, i, j, samples)) continue;
      interpolate(images, samples);
      pad(samples);
      add_images(samples, sums);
    }
  }
  const DoubleVector each[kSums] = {sums.mm, sums.m, sums.mf, sums.one, sums.f, sums.ff};
  for (int n = 0; n < kSums; ++n) out[n] = sum(each[n]);
}

}  // namespace

void correlation_sums(const Alignment& images, View<const double, 3> matrices, View<double, 2> out) {
  const int64_t slabs = slab_count(images.fixed);
  const Scratch<double> sums(kBatch * slabs * kSums);
  for (int64_t start = 0; start < matrices.shape[0]; start += kBatch) {
    const int64_t batch = least(kBatch, matrices.shape[0] - start);
    parallel_for(batch * slabs, [&](int64_t n) {
      const Range planes = slab_planes(images.fixed, n % slabs);
      sum_planes(images, matrices[start + n / slabs], planes, &sums[n * kSums]);
    });
    for (int64_t n = 0; n < batch; ++n) {
      for (int s = 0; s < kSums; ++s) {
        double total = 0.0;
        for (int64_t slab = 0; slab < slabs; ++slab) total += sums[(n * slabs + slab) * kSums + s];
        out.at(start + n)[s] = total;
      }
    }
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
