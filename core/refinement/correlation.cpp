#include "refinement/correlation.hpp"

#include "refinement/force.hpp"
#include "refinement/moments.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// The row of terms and sums at (i, y).
template <bool Masked>
class TermsRow {
 public:
  TermsRow(const ImagePair& images, CorrelationLimits limits, Field out, View<double, 2> sums, int64_t i, int64_t y)
      : voxels_(window_voxels(images)), limits_(limits), sums_(sums), y_(y),
        ahead_((row_ahead(y, out.shape[2]) - y) * out.shape[3]) {
    for (int c = 0; c < 3; ++c) out_[c] = out.at(c, i, y);
  }

  // total: sums of f, m, f f, m m, f m, each times the weight, and of the weight if masked.
  [[gnu::always_inline]] void take(int64_t k, int64_t left, const Vector* total) {
    const Vector zero{}, two = broadcast(2.0f);
    const Vector inverse_n = inverse_count<Masked>(voxels_, total[Masked ? 5 : 0]);
    const Vector f = inverse_n * total[0], m = inverse_n * total[1];
    const Vector vf = maximum(inverse_n * total[2] - f * f, zero), vm = maximum(inverse_n * total[3] - m * m, zero);
    const Vector c = inverse_n * total[4] - f * m, s = square_root(vf);
    const Vector inverse_v = 1.0f / (vf * vm + limits_.floor);
    const Vector r = s * c * inverse_v, limit = maximum(vf - limits_.noise, zero) * vm;
    const Vector below = limit - c * c, attainable = s * limit * inverse_v;
    const Vector p = select_above(below, zero, two * r * inverse_n, zero);
    const Vector q = select_above(below, zero, zero - p * (c * inverse_v * vf), zero);
    for (float* row : out_) ask_to_write(row + ahead_ + k);
    store_first(out_[0] + k, p, left);
    store_first(out_[1] + k, q, left);
    store_first(out_[2] + k, p * f + q * m, left);
    row_.add(select_above(below, zero, c * r, attainable), s, attainable, left);
  }

  void finish() { row_.flush(sums_, y_); }

 private:
  float voxels_;
  CorrelationLimits limits_;
  float* out_[3];
  View<double, 2> sums_;
  int64_t y_, ahead_;
  RowSums row_;
};

template <bool Masked>
struct Terms {
  static constexpr int channels = Masked ? 6 : 5, inputs = Masked ? 3 : 2;
  const ImagePair& images;
  CorrelationLimits limits;
  Field out;
  View<double, 2> sums;

  const float* input(int n) const { return (n == 0 ? images.fixed : n == 1 ? images.moved : images.weight).data; }

  template <int Vectors>
  [[gnu::always_inline]] void add(int64_t at, int64_t left, Vector (&sum)[channels][Vectors]) const {
    Vector f[Vectors], m[Vectors], w[Vectors];
    load_block(images.fixed.data + at, left, f);
    load_block(images.moved.data + at, left, m);
    if constexpr (Masked) load_block(images.weight.data + at, left, w);
    for (int v = 0; v < Vectors; ++v) {
      const Vector wf = Masked ? w[v] * f[v] : f[v], wm = Masked ? w[v] * m[v] : m[v];
      sum[0][v] += wf;
      sum[1][v] += wm;
      sum[2][v] += wf * f[v];
      sum[3][v] += wm * m[v];
      sum[4][v] += wf * m[v];
      if constexpr (Masked) sum[5][v] += w[v];
    }
  }

  TermsRow<Masked> row(int64_t i, int64_t y) const { return {images, limits, out, sums, i, y}; }
};

// Half of d(sum of s cc)/dm, from the sums of P, Q and R.
struct Slope {
  static constexpr int channels = 3;

  [[gnu::always_inline]] static Vector half(Vector f, Vector m, const Vector* total) {
    return 0.5f * (f * total[0] + m * total[1] - total[2]);
  }
};

}  // namespace

void correlation_terms(const ImagePair& images, CorrelationLimits limits, Field out, View<double, 2> sums) {
  clear(sums);
  const Windows windows = windows_of(images);
  if (images.weight.data == nullptr) {
    sum_windows(Terms<false>{images, limits, out, sums}, windows);
  } else {
    sum_windows(Terms<true>{images, limits, out, sums}, windows);
  }
}

void correlation_force(const ImagePair& images, ConstField terms, Field out) {
  sum_windows(Force<Slope>{images, terms, out}, windows_of(images));
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
