#include "fields/determinant.hpp"

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "sampling/cells.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int64_t kBlock = 256;  // voxels that a thread takes at a time

// det(I + du/dx) by columns: column[axis][c] = du_c/dx_axis.
[[gnu::always_inline]] inline float determinant(float a0, float a1, float a2, float b0, float b1, float b2, float c0,
                                                float c1, float c2) {
  a0 += 1.0f;
  b1 += 1.0f;
  c2 += 1.0f;
  return a0 * (b1 * c2 - b2 * c1) - a1 * (b0 * c2 - b2 * c0) + a2 * (b0 * c1 - b1 * c0);
}

// The rows of one component around row (i, j), and the inverse distances between them.
struct Rows {
  const float *above, *below, *left, *right, *here;

  Rows(ConstVolume component, Neighbours i, Neighbours j, int64_t at_i, int64_t at_j)
      : above(component.at(i.before, at_j)), below(component.at(i.after, at_j)), left(component.at(at_i, j.before)),
        right(component.at(at_i, j.after)), here(component.at(at_i, at_j)) {}
};

// The determinants of one row.
class Row {
 public:
  Row(ConstField u, int64_t i, int64_t j)
      : by_i_(neighbours(i, u.shape[1])), by_j_(neighbours(j, u.shape[2])), width_(u.shape[3]),
        z_(u[0], by_i_, by_j_, i, j), y_(u[1], by_i_, by_j_, i, j), x_(u[2], by_i_, by_j_, i, j) {}

  [[gnu::always_inline]] float at(int64_t k) const {
    const Neighbours n = neighbours(k, width_);
    return between(k, n.before, n.after, n.inverse);
  }

  void all(float* __restrict out) const {
    out[0] = at(0);
    // With known neighbours the compiler can vectorise the loop.
    for (int64_t k = 1; k < width_ - 1; ++k) out[k] = between(k, k - 1, k + 1, 0.5f);
    if (width_ > 1) out[width_ - 1] = at(width_ - 1);
  }

 private:
  [[gnu::always_inline]] float between(int64_t k, int64_t before, int64_t after, float by_k) const {
    const float by_i = by_i_.inverse, by_j = by_j_.inverse;
    return determinant(by_i * (z_.below[k] - z_.above[k]), by_i * (y_.below[k] - y_.above[k]),
                       by_i * (x_.below[k] - x_.above[k]), by_j * (z_.right[k] - z_.left[k]),
                       by_j * (y_.right[k] - y_.left[k]), by_j * (x_.right[k] - x_.left[k]),
                       by_k * (z_.here[after] - z_.here[before]), by_k * (y_.here[after] - y_.here[before]),
                       by_k * (x_.here[after] - x_.here[before]));
  }

  Neighbours by_i_, by_j_;
  int64_t width_;
  Rows z_, y_, x_;
};

// (J - 1 / J) / 2 of the clamped determinant.
[[gnu::always_inline]] inline float excess(float determinant) {
  constexpr float most = 5.0f, least = 1.0f / 5.0f;
  float ratio = determinant > least ? determinant : least;
  ratio = ratio < most ? ratio : most;
  return 0.5f * (ratio - 1.0f / ratio);
}

// u[k] += rate * (p(after[k]) - p(before[k])), p the excess of determinants.
void step_between(const float* __restrict before, const float* __restrict after, int64_t count, float rate,
                  float* __restrict u) {
  for (int64_t k = 0; k < count; ++k) u[k] += rate * (excess(after[k]) - excess(before[k]));
}

// u[k] += rate * (after[k] - before[k]).
void step(const float* before, const float* after, int64_t count, float rate, float* __restrict u) {
  for (int64_t k = 0; k < count; ++k) u[k] += rate * (after[k] - before[k]);
}

}  // namespace

void jacobian_determinant(ConstField u, Volume out) {
  parallel_for(out.shape[0], [&](int64_t i) {
    for (int64_t j = 0; j < out.shape[1]; ++j) Row(u, i, j).all(out.at(i, j));
  });
}

void determinants_at(ConstField u, View<const int64_t, 1> voxels, View<float, 1> out) {
  const int64_t height = u.shape[2], width = u.shape[3], count = voxels.shape[0];
  parallel_for((count + kBlock - 1) / kBlock, [&](int64_t block) {
    for (int64_t n = block * kBlock; n < count && n < (block + 1) * kBlock; ++n) {
      const int64_t row = voxels.data[n] / width;
      out.data[n] = Row(u, row / height, row % height).at(voxels.data[n] - row * width);
    }
  });
}

void even_out(Field u, ConstVolume determinants, float rate) {
  const int64_t depth = u.shape[1], height = u.shape[2], width = u.shape[3];
  parallel_for(depth, [&](int64_t i) {
    Scratch<float> excesses(height * width);  // of this plane
    const float* __restrict from = determinants.at(i);
    for (int64_t k = 0; k < height * width; ++k) excesses[k] = excess(from[k]);
    const Neighbours by_i = neighbours(i, depth);
    for (int64_t j = 0; j < height; ++j) {
      const Neighbours by_j = neighbours(j, height);
      const float* line = &excesses[j * width];
      float* x = u.at(2, i, j);
      step_between(determinants.at(by_i.before, j), determinants.at(by_i.after, j), width, rate * by_i.inverse,
                   u.at(0, i, j));
      step(&excesses[by_j.before * width], &excesses[by_j.after * width], width, rate * by_j.inverse, u.at(1, i, j));
      if (width == 1) continue;
      step(line, line + 1, 1, rate, x);
      step(line, line + 2, width - 2, rate * 0.5f, x + 1);
      step(line + width - 2, line + width - 1, 1, rate, x + width - 1);
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
