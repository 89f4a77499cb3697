// Sums of products for the Gram matrix of an affine. For kernel files only: see base/dispatch.hpp.
//
// With G = dm/dq at a sample of voxel x = (i, j, k), dm/dmatrix[a, p] = G[a] X[p] where X = (i, j, k, 1). So products of
// the columns [dm/dmatrix (12), m, 1, f] over a plane i need only sums of w times
//   m m, m, m f, 1, f, f f;   G[a] (m, 1, f) (1, j, k);   G[a] G[b] (1, j, k, j j, j k, k k).
#pragma once

#include "affine/samples.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

constexpr int kColumns = 15;

// Sums over one row, then over a plane; k is the position in the row.
struct ImageSums {
  DoubleVector mm{}, m{}, mf{}, one{}, f{}, ff{};
};
struct SlopeSums {  // of one of G (m, 1, f)
  DoubleVector one{}, j{}, k{};
};
struct PairSums {
  DoubleVector one{}, j{}, k{}, jj{}, jk{}, kk{};

  // Add products of slopes at positions k.
  [[gnu::always_inline]] void add(DoubleVector product, DoubleVector at) {
    one += product;
    product *= at;
    k += product;
    kk += product * at;
  }
  [[gnu::always_inline]] void add_row(const PairSums& row, double at) {
    one += row.one;
    k += row.k;
    kk += row.kk;
    j += at * row.one;
    jk += at * row.k;
    jj += (at * at) * row.one;
  }
};

struct PlaneSums {
  ImageSums images;
  SlopeSums slopes[3][3];  // G[a] times m, 1, f
  PairSums pairs[3][3];    // G[a] G[b], a <= b
};

[[gnu::always_inline]] inline void add_row(const SlopeSums& row, double j, SlopeSums& plane) {
  plane.one += row.one;
  plane.j += j * row.one;
  plane.k += row.k;
}

inline void add_images(const Samples& s, ImageSums& sums) {
  ImageSums t = sums;  // in registers
  for (int64_t k = 0; k < s.count; k += double_lanes) {
    const DoubleVector w = load_double(s.weight + k), m = load_double(s.moving + k), f = load_double(s.fixed + k);
    const DoubleVector wm = w * m, wf = w * f;
    t.mm += wm * m;
    t.m += wm;
    t.mf += wm * f;
    t.one += w;
    t.f += wf;
    t.ff += wf * f;
  }
  sums = t;
}

// Add products of slope `a` of row j with m, 1, f and with slopes b >= a.
template <int a>
void add_slope(const Samples& s, double j, PlaneSums& plane) {
  const float* const slopes[] = {s.slope_z, s.slope_y, s.slope_x};
  SlopeSums with_m, with_one, with_f;
  PairSums first, second, third;
  DoubleVector at{};
  for (int lane = 0; lane < double_lanes; ++lane) at[lane] = static_cast<double>(s.first + lane);
  for (int64_t k = 0; k < s.count; k += double_lanes, at += static_cast<double>(double_lanes)) {
    const DoubleVector m = load_double(s.moving + k), f = load_double(s.fixed + k), own = load_double(slopes[a] + k);
    const DoubleVector g = load_double(s.weight + k) * own, gk = g * at;
    with_m.one += g * m;
    with_m.k += gk * m;
    with_one.one += g;
    with_one.k += gk;
    with_f.one += g * f;
    with_f.k += gk * f;
    first.add(g * own, at);
    if constexpr (a < 2) second.add(g * load_double(slopes[a + 1] + k), at);
    if constexpr (a < 1) third.add(g * load_double(slopes[a + 2] + k), at);
  }
  add_row(with_m, j, plane.slopes[a][0]);
  add_row(with_one, j, plane.slopes[a][1]);
  add_row(with_f, j, plane.slopes[a][2]);
  plane.pairs[a][a].add_row(first, j);
  if constexpr (a < 2) plane.pairs[a][a + 1].add_row(second, j);
  if constexpr (a < 1) plane.pairs[a][a + 2].add_row(third, j);
}

// Add the products of the samples of row j.
inline void add_samples(const Samples& s, int64_t j, PlaneSums& plane) {
  add_images(s, plane.images);
  add_slope<0>(s, static_cast<double>(j), plane);
  add_slope<1>(s, static_cast<double>(j), plane);
  add_slope<2>(s, static_cast<double>(j), plane);
}

// gram[rows 4a to 4a + 3, columns 4b to 4b + 3] += sums of G[a] G[b] X X^T.
inline void add_block(const PairSums& sums, double i, double* gram) {
  const double one = sum(sums.one), j = sum(sums.j), k = sum(sums.k);
  const double jj = sum(sums.jj), jk = sum(sums.jk), kk = sum(sums.kk);
  const double block[4][4] = {{i * i * one, i * j, i * k, i * one}, {i * j, jj, jk, j}, {i * k, jk, kk, k},
                              {i * one, j, k, one}};
  for (int p = 0; p < 4; ++p) {
    for (int q = 0; q < 4; ++q) gram[p * kColumns + q] += block[p][q];
  }
}

// Add plane i to the upper triangle of a Gram matrix (15, 15).
inline void add_gram(const PlaneSums& sums, int64_t plane, double* gram) {
  const double i = static_cast<double>(plane);
  for (int a = 0; a < 3; ++a) {
    for (int b = a; b < 3; ++b) add_block(sums.pairs[a][b], i, gram + 4 * (a * kColumns + b));
    for (int n = 0; n < 3; ++n) {
      const double one = sum(sums.slopes[a][n].one);
      const double column[4] = {i * one, sum(sums.slopes[a][n].j), sum(sums.slopes[a][n].k), one};
      for (int p = 0; p < 4; ++p) gram[(4 * a + p) * kColumns + 12 + n] += column[p];
    }
  }
  const ImageSums& t = sums.images;
  const double corner[3][3] = {{sum(t.mm), sum(t.m), sum(t.mf)}, {0.0, sum(t.one), sum(t.f)}, {0.0, 0.0, sum(t.ff)}};
  for (int p = 0; p < 3; ++p) {
    for (int q = p; q < 3; ++q) gram[(12 + p) * kColumns + 12 + q] += corner[p][q];
  }
}

// out (15, 15) = the sum of `count` upper triangles, in order, and its transpose below.
inline void add_slabs(const double* grams, int64_t count, View<double, 2> out) {
  for (int p = 0; p < kColumns; ++p) {
    for (int q = p; q < kColumns; ++q) {
      double total = 0.0;
      for (int64_t n = 0; n < count; ++n) total += grams[(n * kColumns + p) * kColumns + q];
      out.data[p * kColumns + q] = out.data[q * kColumns + p] = total;
    }
  }
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
