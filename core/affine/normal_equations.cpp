#include "affine/normal_equations.hpp"

#include "affine/bins.hpp"
#include "affine/moments.hpp"
#include "base/parallel.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Return the sums over the samples of plane i, after `change` of their slopes and of f.
template <typename Change>
PlaneSums sum_plane(const Alignment& images, Matrix matrix, int64_t i, const SampleMemory& memory, Change change) {
  PlaneSums sums;
  for (int64_t j = 0; j < images.fixed.shape[1]; ++j) {
    Samples samples = memory.samples();
    if (!find_samples(images, matrix, i, j, samples)) continue;
    differentiate(images, samples);
    change(samples);
    pad(samples);
    add_samples(samples, j, sums);
  }
  return sums;
}

// out = sums over samples, after `change` of their slopes and of f.
template <typename Change>
void add_all(const Alignment& images, Matrix matrix, Change change, View<double, 2> out) {
  const int64_t slabs = slab_count(images.fixed), size = kColumns * kColumns;
  const Scratch<double> grams(slabs * size);
  parallel_for(slabs, [&](int64_t n) {
    const SampleMemory memory(images.fixed.shape[2]);
    const Range planes = slab_planes(images.fixed, n);
    std::memset(&grams[n * size], 0, size * sizeof(double));
    for (int64_t i = planes.first; i < planes.first + planes.count; ++i) {
      add_gram(sum_plane(images, matrix, i, memory, change), i, &grams[n * size]);
    }
  });
  add_slabs(grams.get(), slabs, out);
}

// Multiply the derivatives of m by s of a table at (f, m), and set f to zero.
void scale_slopes(View<const double, 2> table, const Bins& bins, Samples& s) {
  const int32_t width = static_cast<int32_t>(table.shape[1]), count = static_cast<int32_t>(s.count);
  for (int32_t k = 0; k < count; ++k) {
    const Bin f = bins.find(s.fixed[k]), m = bins.find(s.moving[k]);
    const double *near = table.data + (f.below * width + m.below), *far = near + width;
    const double above = (1.0 - m.part) * near[0] + m.part * near[1];
    const double below = (1.0 - m.part) * far[0] + m.part * far[1];
    const double slope = s.inside[k] * s.weight[k] > 0.0f ? (1.0 - f.part) * above + f.part * below : 0.0;
    s.slope_z[k] = static_cast<float>(s.slope_z[k] * slope);
    s.slope_y[k] = static_cast<float>(s.slope_y[k] * slope);
    s.slope_x[k] = static_cast<float>(s.slope_x[k] * slope);
    s.fixed[k] = 0.0f;
  }
}

}  // namespace

void normal_equations(const Alignment& images, Matrix matrix, View<double, 2> out) {
  add_all(images, matrix, [](Samples&) {}, out);
}

void fisher_sums(const Alignment& images, Matrix matrix, View<const double, 2> slopes, double top, View<double, 2> out) {
  const Bins bins(slopes.shape[0], top);
  add_all(images, matrix, [&](Samples& samples) { scale_slopes(slopes, bins, samples); }, out);
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
