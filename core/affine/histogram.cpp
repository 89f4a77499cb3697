#include "affine/histogram.hpp"

#include "affine/bins.hpp"
#include "affine/samples.hpp"
#include "base/parallel.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int64_t kChunk = 16384;  // values of `interpolate_table` at once

typedef double Two __attribute__((vector_size(16)));

// to[0 : 2] += values.
[[gnu::always_inline]] inline void add(double* to, Two values) {
  Two before;
  std::memcpy(&before, to, sizeof before);
  before += values;
  std::memcpy(to, &before, sizeof before);
}

// The place of samples in the table: the bin of f times its width plus the bin of m, and the fractions.
struct Places {
  int32_t* bin;
  double *f, *m;
};

void find_places(const Samples& s, const Bins& bins, int32_t width, Places places) {
  const float *__restrict fixed = s.fixed, *__restrict moving = s.moving;
  int32_t* __restrict bin = places.bin;
  double *__restrict part_f = places.f, *__restrict part_m = places.m;
  const int32_t count = static_cast<int32_t>(s.count);
  for (int32_t k = 0; k < count; ++k) {
    const Bin f = bins.find(fixed[k]), m = bins.find(moving[k]);
    bin[k] = f.below * width + m.below;
    part_f[k] = f.part;
    part_m[k] = m.part;
  }
}

// Add the samples of a row to two tables in turn: neighbours often meet in a bin, and would wait for each other.
void add_row(const Samples& s, Places places, int64_t width, double* tables) {
  for (int64_t k = 0; k < s.count; ++k) {
    double* at = tables + (k & 1) * width * width + places.bin[k];
    const double weight = s.weight[k], far = weight * places.f[k], near = weight - far;
    const Two parts = {1.0 - places.m[k], places.m[k]};
    add(at, near * parts);
    add(at + width, far * parts);
  }
}

// tables (2, bins, bins) = the histogram of planes [first, last), in two parts.
void add_slab(const Alignment& images, Matrix matrix, const Bins& bins, Range planes, double* tables) {
  const int64_t width = bins.second + 2, length = images.fixed.shape[2];
  std::memset(tables, 0, 2 * width * width * sizeof(double));
  const SampleMemory memory(length);
  const Scratch<double> parts(2 * length);
  const Scratch<int32_t> bin(length);
  const Places places{bin.get(), parts.get(), &parts[length]};
  for (int64_t i = planes.first; i < planes.first + planes.count; ++i) {
    for (int64_t j = 0; j < images.fixed.shape[1]; ++j) {
      Samples samples = memory.samples();
      if (!find_samples(images, matrix, i, j, samples)) continue;
      interpolate(images, samples);
      find_places(samples, bins, static_cast<int32_t>(width), places);
      add_row(samples, places, width, tables);
    }
  }
}

}  // namespace

void joint_histogram(const Alignment& images, Matrix matrix, double top, View<double, 2> out) {
  const int64_t slabs = slab_count(images.fixed), size = out.size();
  const Bins bins(out.shape[0], top);
  const Scratch<double> tables(slabs * 2 * size);
  parallel_for(slabs, [&](int64_t n) {
    add_slab(images, matrix, bins, slab_planes(images.fixed, n), &tables[n * 2 * size]);
  });
  std::memcpy(out.data, tables.get(), size * sizeof(double));
  for (int64_t n = 1; n < 2 * slabs; ++n) {
    const double* __restrict table = &tables[n * size];
    double* __restrict total = out.data;
    for (int64_t bin = 0; bin < size; ++bin) total[bin] += table[bin];
  }
}

void interpolate_table(View<const float, 1> values, View<const double, 1> table, double top, View<float, 1> out) {
  const Bins bins(table.shape[0], top);
  const int64_t count = values.shape[0];
  parallel_for((count + kChunk - 1) / kChunk, [&](int64_t n) {
    const float* __restrict from = values.data + n * kChunk;
    const double* __restrict entries = table.data;
    float* __restrict to = out.data + n * kChunk;
    const int32_t length = static_cast<int32_t>(least(kChunk, count - n * kChunk));
    for (int32_t k = 0; k < length; ++k) {
      const Bin bin = bins.find(from[k]);
      to[k] = static_cast<float>((1.0 - bin.part) * entries[bin.below] + bin.part * entries[bin.below + 1]);
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
