// Forces along the gradient of an image. For kernel files only: see base/dispatch.hpp.
#pragma once

#include "base/view.hpp"
#include "refinement/blocks.hpp"
#include "refinement/moments.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// Stores a factor times the central differences of an image in row (i, y), one-sided ones at the borders.
class GradientRow {
 public:
  GradientRow(ConstVolume image, Field out, int64_t i, int64_t y)
      : width_(image.shape[2]), line_(image.at(i, y)), up_(image.at(higher(i - 1, 0), y)),
        down_(image.at(lower(i + 1, image.shape[0] - 1), y)), before_(image.at(i, higher(y - 1, 0))),
        after_(image.at(i, lower(y + 1, image.shape[1] - 1))),
        ahead_((row_ahead(y, image.shape[1]) - y) * width_) {
    for (int c = 0; c < 3; ++c) out_[c] = out.at(c, i, y);
  }

  // Ask for the row of another volume that is asked for now.
  [[gnu::always_inline]] void ask_with(const float* row) const { ask_for(row + ahead_); }

  // Store `half` times the differences between the neighbours of the voxels k, k + 1, ..., of which `left` are in the
  // row.
  [[gnu::always_inline]] void store_at(int64_t k, int64_t left, Vector half) const {
    ask_for(down_ + ahead_ + k);
    for (float* row : out_) ask_to_write(row + ahead_ + k);
    store_first(out_[0] + k, half * (load_first(down_ + k, left) - load_first(up_ + k, left)), left);
    store_first(out_[1] + k, half * (load_first(after_ + k, left) - load_first(before_ + k, left)), left);
    store_first(out_[2] + k, half * (next(k, left) - previous(k)), left);
  }

 private:
  [[gnu::always_inline]] Vector previous(int64_t k) const {
    if (k > 0) return load_first(line_ + k - 1, width_ - k + 1);
    return shift_up(load_first(line_, width_), line_[0]);
  }

  [[gnu::always_inline]] Vector next(int64_t k, int64_t left) const {
    if (left > lanes) return load(line_ + k + 1);
    Vector values = load_first(line_ + k + 1, left - 1);
    values[left - 1] = line_[width_ - 1];
    return values;
  }

  int64_t width_;
  const float *line_, *up_, *down_, *before_, *after_;
  float* out_[3];
  int64_t ahead_;
};

// The row of forces at (i, y).
template <typename Slope>
class ForceRow {
 public:
  ForceRow(const ImagePair& images, Field out, int64_t i, int64_t y)
      : gradient_(images.moved, out, i, y), f_(images.fixed.at(i, y)), m_(images.moved.at(i, y)),
        w_(images.weight.data == nullptr ? nullptr : images.weight.at(i, y)) {}

  [[gnu::always_inline]] void take(int64_t k, int64_t left, const Vector* total) const {
    gradient_.ask_with(f_ + k);
    if (w_ != nullptr) gradient_.ask_with(w_ + k);
    Vector half = Slope::half(load_first(f_ + k, left), load_first(m_ + k, left), total);
    if (w_ != nullptr) half *= load_first(w_ + k, left);
    gradient_.store_at(k, left, half);
  }

  void finish() const {}

 private:
  GradientRow gradient_;
  const float *f_, *m_, *w_;
};

// Kernel of forces from `terms`, whose sums Slope::half turns into half of the derivative by the moved image.
template <typename Slope>
struct Force {
  static constexpr int channels = Slope::channels, inputs = channels;
  const ImagePair& images;
  ConstField terms;
  Field out;

  const float* input(int n) const { return terms.at(n); }

  template <int Vectors>
  [[gnu::always_inline]] void add(int64_t at, int64_t left, Vector (&sums)[channels][Vectors]) const {
    add_channels(terms, at, left, sums);
  }

  ForceRow<Slope> row(int64_t i, int64_t y) const { return {images, out, i, y}; }
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
