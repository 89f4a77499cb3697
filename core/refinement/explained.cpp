#include "refinement/explained.hpp"

#include "refinement/force.hpp"
#include "refinement/moments.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// The row of the basis at (i, y).
template <bool Masked>
class BasisRow {
 public:
  BasisRow(const ImagePair& images, float ridge, Field out, int64_t i, int64_t y)
      : voxels_(window_voxels(images)), ridge_(ridge), ahead_((row_ahead(y, out.shape[2]) - y) * out.shape[3]) {
    for (int c = 0; c < 5; ++c) out_[c] = out.at(c, i, y);
  }

  // total: sums of f, f^2, f^3 and f^4, each times the weight, and of the weight if masked.
  [[gnu::always_inline]] void take(int64_t k, int64_t left, const Vector* total) const {
    const Vector zero{}, inverse_n = inverse_count<Masked>(voxels_, total[Masked ? 4 : 0]);
    const Vector mean = inverse_n * total[0], square = inverse_n * total[1];
    const Vector s11 = maximum(square - mean * mean, zero), s12 = inverse_n * total[2] - mean * square;
    const Vector s22 = maximum(inverse_n * total[3] - square * square, zero);
    const Vector p = 1.0f / square_root(s11 + ridge_), below = s12 * p;
    const Vector q = 1.0f / square_root(maximum(s22 - below * below, zero) + ridge_);
    for (float* row : out_) ask_to_write(row + ahead_ + k);
    store_first(out_[0] + k, mean, left);
    store_first(out_[1] + k, square, left);
    store_first(out_[2] + k, counted(inverse_n, p), left);
    store_first(out_[3] + k, counted(inverse_n, q), left);
    store_first(out_[4] + k, counted(inverse_n, zero - below * p * q), left);
  }

  void finish() const {}

 private:
  [[gnu::always_inline]] static Vector counted(Vector inverse_n, Vector values) {
    return select_above(inverse_n, Vector{}, values, Vector{});
  }

  float voxels_, ridge_;
  int64_t ahead_;
  float* out_[5];
};

template <bool Masked>
struct Basis {
  static constexpr int channels = Masked ? 5 : 4, inputs = Masked ? 2 : 1;
  const ImagePair& images;
  float ridge;
  Field out;

  const float* input(int n) const { return (n == 0 ? images.fixed : images.weight).data; }

  template <int Vectors>
  [[gnu::always_inline]] void add(int64_t at, int64_t left, Vector (&sums)[channels][Vectors]) const {
    Vector f[Vectors], w[Vectors];
    load_block(images.fixed.data + at, left, f);
    if constexpr (Masked) load_block(images.weight.data + at, left, w);
    for (int v = 0; v < Vectors; ++v) {
      const Vector square = f[v] * f[v], wf = Masked ? w[v] * f[v] : f[v], ws = Masked ? w[v] * square : square;
      sums[0][v] += wf;
      sums[1][v] += ws;
      sums[2][v] += wf * square;
      sums[3][v] += ws * square;
      if constexpr (Masked) sums[4][v] += w[v];
    }
  }

  BasisRow<Masked> row(int64_t i, int64_t y) const { return {images, ridge, out, i, y}; }
};

// The row of terms and sums at (i, y).
template <bool Masked>
class TermsRow {
 public:
  TermsRow(const ImagePair& images, ExplainedLimits limits, ConstField basis, Field out, View<double, 2> sums,
           int64_t i, int64_t y)
      : voxels_(window_voxels(images)), limits_(limits), sums_(sums), y_(y),
        ahead_((row_ahead(y, out.shape[2]) - y) * out.shape[3]) {
    for (int c = 0; c < 5; ++c) basis_[c] = basis.at(c, i, y);
    for (int c = 0; c < 4; ++c) out_[c] = out.at(c, i, y);
  }

  // total: sums of m, m m, f m and f f m, each times the weight, and of the weight if masked.
  [[gnu::always_inline]] void take(int64_t k, int64_t left, const Vector* total) {
    const Vector zero{}, inverse_n = inverse_count<Masked>(voxels_, total[Masked ? 4 : 0]);
    const Vector mean = load_first(basis_[0] + k, left), square = load_first(basis_[1] + k, left);
    const Vector p = load_first(basis_[2] + k, left), q = load_first(basis_[3] + k, left);
    const Vector r = load_first(basis_[4] + k, left), m = inverse_n * total[0];
    const Vector variance = maximum(inverse_n * total[1] - m * m, zero), inverse_v = 1.0f / (variance + limits_.floor);
    const Vector c1 = inverse_n * total[2] - m * mean, c2 = inverse_n * total[3] - m * square;
    const Vector e1 = p * c1, e2 = q * c2 + r * c1, explained = (e1 * e1 + e2 * e2) * inverse_v;
    const Vector spread = select_above(p, zero, maximum(1.0f / (p * p) - limits_.ridge, zero), zero);
    const Vector s = square_root(spread), limit = attainable(spread, variance, inverse_v);
    const Vector pull = select_above(limit, explained, 2.0f * s * inverse_n * inverse_v, zero);
    const Vector a1 = p * e1 + r * e2, a2 = q * e2;
    for (const float* row : basis_) ask_for(row + ahead_ + k);
    for (float* row : out_) ask_to_write(row + ahead_ + k);
    store_first(out_[0] + k, pull * a1, left);
    store_first(out_[1] + k, pull * a2, left);
    store_first(out_[2] + k, pull * explained, left);
    store_first(out_[3] + k, pull * (a1 * mean + a2 * square - explained * m), left);
    row_.add(s * select_above(limit, explained, explained, limit), s, s * limit, left);
  }

  void finish() { row_.flush(sums_, y_); }

 private:
  // Return R^2 if only noise is unexplained.
  [[gnu::always_inline]] Vector attainable(Vector spread, Vector variance, Vector inverse_v) const {
    const Vector noise = broadcast(limits_.noise[0]);
    const Vector moved = maximum(variance - limits_.noise[1], Vector{}) * inverse_v;
    return select_above(spread, noise, moved * (spread - noise) / spread, Vector{});
  }

  float voxels_;
  ExplainedLimits limits_;
  const float* basis_[5];
  float* out_[4];
  View<double, 2> sums_;
  int64_t y_, ahead_;
  RowSums row_;
};

template <bool Masked>
struct Terms {
  static constexpr int channels = Masked ? 5 : 4, inputs = Masked ? 3 : 2;
  const ImagePair& images;
  ExplainedLimits limits;
  ConstField basis;
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
      const Vector wm = Masked ? w[v] * m[v] : m[v], wfm = f[v] * wm;
      sum[0][v] += wm;
      sum[1][v] += wm * m[v];
      sum[2][v] += wfm;
      sum[3][v] += f[v] * wfm;
      if constexpr (Masked) sum[4][v] += w[v];
    }
  }

  TermsRow<Masked> row(int64_t i, int64_t y) const { return {images, limits, basis, out, sums, i, y}; }
};

// Half of d(sum of s R^2)/dm, from the sums of P1, P2, Q and C.
struct Slope {
  static constexpr int channels = 4;

  [[gnu::always_inline]] static Vector half(Vector f, Vector m, const Vector* total) {
    return 0.5f * (f * (total[0] + f * total[1]) - m * total[2] - total[3]);
  }
};

}  // namespace

void explained_basis(const ImagePair& images, ExplainedLimits limits, Field out) {
  const Windows windows = windows_of(images);
  if (images.weight.data == nullptr) {
    sum_windows(Basis<false>{images, limits.ridge, out}, windows);
  } else {
    sum_windows(Basis<true>{images, limits.ridge, out}, windows);
  }
}

void explained_terms(const ImagePair& images, ExplainedLimits limits, ConstField basis, Field out,
                     View<double, 2> sums) {
  clear(sums);
  const Windows windows = windows_of(images);
  if (images.weight.data == nullptr) {
    sum_windows(Terms<false>{images, limits, basis, out, sums}, windows);
  } else {
    sum_windows(Terms<true>{images, limits, basis, out, sums}, windows);
  }
}

void explained_force(const ImagePair& images, ConstField terms, Field out) {
  sum_windows(Force<Slope>{images, terms, out}, windows_of(images));
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
