// Sums of images and of their products over patches. For kernel files only: see base/dispatch.hpp.
#pragma once

#include "base/scratch.hpp"
#include "base/simd.hpp"
#include "labels/fusion.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

constexpr int64_t kBlock = 32;  // voxels of a row at once: their sums fit into the L1 cache

// Voxels start to start + count of row (i, j) of images, with the planes and rows of their patches.
struct Block {
  Block(const ConstField& images, const PatchRadii& radii, int64_t i, int64_t j, int64_t start)
      : images(images), radius(radii.width), start(start), count(least(kBlock, images.shape[3] - start)),
        first_plane(most(i - radii.depth, 0)), last_plane(least(i + radii.depth + 1, images.shape[1])),
        first_row(most(j - radii.height, 0)), last_row(least(j + radii.height + 1, images.shape[2])) {}

  // Return the number of voxels of the patch about voxel start + k.
  float patch_size(int64_t k) const {
    const int64_t length = least(start + k + radius + 1, images.shape[3]) - most(start + k - radius, 0);
    return static_cast<float>((last_plane - first_plane) * (last_row - first_row) * length);
  }

  const ConstField& images;
  int64_t radius, start, count, first_plane, last_plane, first_row, last_row;
};

// Up to `lanes` voxels of a block: their indices, rows of the result, and sizes of patches.
struct Voxels {
  void add(int64_t k, int32_t row, const Block& block) {
    index[count] = static_cast<int32_t>(k);
    place[count] = row;
    size[count] = block.patch_size(k);
    ++count;
  }
  void clear() { *this = Voxels(); }

  int64_t count = 0;
  int32_t index[lanes] = {}, place[lanes] = {};
  Vector size = broadcast(1.0f);
};

// Sums over the patches about each voxel of a block.
class PatchSums {
 public:
  PatchSums(int64_t count, int64_t radius)
      : count_(count), length_((kBlock + 2 * radius + lanes - 1) / lanes * lanes), rows_(kRows * count * length_),
        columns_((count + 1) * (count + 2) / 2 * length_), sums_((count + 1) * (count + 2) / 2 * kBlock) {}

  // Compute the sums of a block.
  void compute(const Block& block) const;

  // Return the sums over the patches about some voxels of image a, and of the product of a and b <= a.
  [[gnu::always_inline]] Vector sum(int64_t a, const Voxels& voxels) const { return pick(pair(count_, a), voxels); }
  [[gnu::always_inline]] Vector product(int64_t a, int64_t b, const Voxels& voxels) const {
    return pick(pair(a, b), voxels);
  }

 private:
  // Return the number of a pair of images, a >= b; image `count` stands for ones.
  [[gnu::always_inline]] static int64_t pair(int64_t a, int64_t b) { return a * (a + 1) / 2 + b; }
  [[gnu::always_inline]] Vector pick(int64_t pair, const Voxels& voxels) const {
    Vector values;
    for (int lane = 0; lane < lanes; ++lane) values[lane] = sums_[pair * kBlock + voxels.index[lane]];
    return values;
  }
  [[gnu::always_inline]] float* row(int64_t n, int64_t image) const { return &rows_[(n * count_ + image) * length_]; }

  void copy_row(const Block& block, int64_t i, int64_t j, int64_t n) const;
  template <int Images>
  void add_products(int64_t a, int64_t b, int64_t rows) const;
  void add_sums(int64_t a, int64_t rows) const;
  void add_rows(int64_t rows) const;
  void add_windows(int64_t radius) const;

  static constexpr int64_t kRows = 25;  // of patches, at once
  int64_t count_, length_;
  Scratch<float> rows_;     // (kRows, count, length): voxel start - radius + k at k, zero outside of the images
  Scratch<float> columns_;  // (pairs, length): sums over planes and rows
  Scratch<float> sums_;     // (pairs, kBlock): sums over patches
};

inline void PatchSums::copy_row(const Block& block, int64_t i, int64_t j, int64_t n) const {
  const int64_t first = block.start - block.radius, low = most(first, 0);
  const int64_t high = least(first + length_, block.images.shape[3]);
  for (int64_t a = 0; a < count_; ++a) {
    float* to = row(n, a);
    std::memset(to, 0, length_ * sizeof(float));
    std::memcpy(to + (low - first), block.images.at(a, i, j) + low, (high - low) * sizeof(float));
  }
}

// Add the products of image a with images b, b + 1, ... to their columns.
template <int Images>
void PatchSums::add_products(int64_t a, int64_t b, int64_t rows) const {
  for (int64_t k = 0; k < length_; k += lanes) {
    float* to = &columns_[pair(a, b) * length_ + k];
    Vector sums[Images];
    for (int n = 0; n < Images; ++n) sums[n] = load(to + n * length_);
    for (int64_t r = 0; r < rows; ++r) {
      const Vector one = load(row(r, a) + k);
      for (int n = 0; n < Images; ++n) sums[n] += one * load(row(r, b + n) + k);
    }
    for (int n = 0; n < Images; ++n) store(to + n * length_, sums[n]);
  }
}

inline void PatchSums::add_sums(int64_t a, int64_t rows) const {
  float* to = &columns_[pair(count_, a) * length_];
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < length_; k += lanes) store(to + k, load(to + k) + load(row(r, a) + k));
  }
}

inline void PatchSums::add_rows(int64_t rows) const {
  for (int64_t a = 0; a < count_; ++a) {
    int64_t b = 0;
    for (; b + 4 <= a + 1; b += 4) add_products<4>(a, b, rows);
    for (; b <= a; ++b) add_products<1>(a, b, rows);
    add_sums(a, rows);
  }
}

// sums = sums over 2 radius + 1 columns.
inline void PatchSums::add_windows(int64_t radius) const {
  for (int64_t p = 0; p < pair(count_, count_); ++p) {
    const float* from = &columns_[p * length_];
    for (int64_t k = 0; k < kBlock; k += lanes) {
      Vector total = load(from + k);
      for (int64_t t = 1; t <= 2 * radius; ++t) total += load(from + k + t);
      store(&sums_[p * kBlock + k], total);
    }
  }
}

inline void PatchSums::compute(const Block& block) const {
  std::memset(columns_.get(), 0, pair(count_, count_) * length_ * sizeof(float));
  int64_t rows = 0;
  for (int64_t i = block.first_plane; i < block.last_plane; ++i) {
    for (int64_t j = block.first_row; j < block.last_row; ++j) {
      copy_row(block, i, j, rows);
      if (++rows < kRows) continue;
      add_rows(rows);
      rows = 0;
    }
  }
  if (rows > 0) add_rows(rows);
  add_windows(block.radius);
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
