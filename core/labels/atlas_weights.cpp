#include "base/parallel.hpp"
#include "labels/fusion.hpp"
#include "labels/patches.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr float kLeastVariance = 1e-4f;  // added to variances, in squared units of about unit intensities
constexpr float kRidge = 0.5f;           // added to the diagonal, in units of its mean
constexpr float kLeastError = 1e-3f;

// Symmetric matrices of `lanes` voxels: lower triangles, row by row.
class Matrices {
 public:
  explicit Matrices(int64_t size) : values_(size * (size + 1) / 2) {}
  [[gnu::always_inline]] Vector& at(int64_t row, int64_t column) const { return values_[row * (row + 1) / 2 + column]; }

 private:
  Scratch<Vector> values_;
};

// The memory of one thread: means or solutions, and matrices, of `lanes` voxels at once.
struct Workspace {
  Workspace(int64_t count, int64_t radius) : patches(count, radius), matrices(count), row(count), count(count) {}

  PatchSums patches;
  Matrices matrices;
  Scratch<Vector> row;
  int64_t count;  // of images
};

// matrices = correlations of the images over the patches of `voxels`.
void correlate(const Workspace& work, const Voxels& voxels) {
  const Vector share = 1.0f / voxels.size;
  for (int64_t a = 0; a < work.count; ++a) work.row[a] = work.patches.sum(a, voxels) * share;
  for (int64_t a = 0; a < work.count; ++a) {
    for (int64_t b = 0; b <= a; ++b) {
      work.matrices.at(a, b) = work.patches.product(a, b, voxels) * share - work.row[a] * work.row[b];
    }
  }
  for (int64_t a = 0; a < work.count; ++a) {
    work.row[a] = 1.0f / square_root(maximum(work.matrices.at(a, a), Vector{}) + kLeastVariance);
  }
  for (int64_t a = 0; a < work.count; ++a) {
    for (int64_t b = 0; b <= a; ++b) work.matrices.at(a, b) *= work.row[a] * work.row[b];
  }
}

// Convert correlations, those of the target last, to M with a regularised diagonal.
void find_errors(const Workspace& work, bool joint) {
  const Matrices& m = work.matrices;
  const int64_t last = work.count - 1;
  Vector trace{};
  for (int64_t a = 0; a < last; ++a) {
    for (int64_t b = 0; b <= a; ++b) m.at(a, b) += m.at(last, last) - m.at(last, a) - m.at(last, b);
    m.at(a, a) = maximum(m.at(a, a), Vector{});
    trace += m.at(a, a);
  }
  const Vector add = joint ? kRidge * trace / static_cast<float>(last) + kLeastError : broadcast(kLeastError);
  for (int64_t a = 0; a < last; ++a) m.at(a, a) += add;
}

// M = L L^T, and row = L^-1 1.
void decompose(const Workspace& work) {
  const Matrices& m = work.matrices;
  for (int64_t a = 0; a < work.count - 1; ++a) {
    Vector solution = broadcast(1.0f);
    for (int64_t b = 0; b < a; ++b) {
      Vector rest = m.at(a, b);
      for (int64_t c = 0; c < b; ++c) rest -= m.at(a, c) * m.at(b, c);
      m.at(a, b) = rest * m.at(b, b);
      solution -= m.at(a, b) * work.row[b];
    }
    Vector rest = m.at(a, a);
    for (int64_t c = 0; c < a; ++c) rest -= m.at(a, c) * m.at(a, c);
    m.at(a, a) = 1.0f / square_root(maximum(rest, broadcast(kLeastError)));  // the inverse of L's diagonal
    work.row[a] = solution * m.at(a, a);
  }
}

// row = M^-1 1, or one over M's diagonal.
void solve(const Workspace& work, bool joint) {
  const Matrices& m = work.matrices;
  const int64_t last = work.count - 1;
  if (!joint) {
    for (int64_t a = 0; a < last; ++a) work.row[a] = 1.0f / m.at(a, a);
    return;
  }
  decompose(work);
  for (int64_t a = last - 1; a >= 0; --a) {
    Vector rest = work.row[a];
    for (int64_t c = a + 1; c < last; ++c) rest -= m.at(c, a) * work.row[c];
    work.row[a] = rest * m.at(a, a);
  }
}

// out = the non-negative part of row, scaled to sum to one.
void write_shares(const Workspace& work, const Voxels& voxels, View<float, 2> out) {
  const int64_t last = work.count - 1;
  Vector total{};
  for (int64_t a = 0; a < last; ++a) {
    work.row[a] = maximum(work.row[a], Vector{});
    total += work.row[a];
  }
  const Vector even = broadcast(1.0f / static_cast<float>(last));
  for (int64_t a = 0; a < last; ++a) {
    const Vector share = select_above(total, Vector{}, work.row[a] / total, even);
    for (int64_t lane = 0; lane < voxels.count; ++lane) out.at(voxels.place[lane])[a] = share[lane];
  }
}

void weigh_voxels(const Workspace& work, const Voxels& voxels, bool joint, View<float, 2> out) {
  correlate(work, voxels);
  find_errors(work, joint);
  solve(work, joint);
  write_shares(work, voxels, out);
}

// Compute the weights of the voxels of a block that have a place in `out`. Return whether all places are rows.
bool weigh_block(const Workspace& work, const Block& block, const int32_t* places, bool joint, View<float, 2> out) {
  bool valid = true, known = false;
  Voxels voxels;
  for (int64_t k = 0; k < block.count; ++k) {
    if (places[k] < 0) continue;
    if (places[k] >= out.shape[0]) {
      valid = false;
      continue;
    }
    if (!known) work.patches.compute(block);
    known = true;
    voxels.add(k, places[k], block);
    if (voxels.count < lanes) continue;
    weigh_voxels(work, voxels, joint, out);
    voxels.clear();
  }
  if (voxels.count > 0) weigh_voxels(work, voxels, joint, out);
  return valid;
}

}  // namespace

bool atlas_weights(ConstField images, View<const int32_t, 3> places, PatchRadii radii, bool joint, View<float, 2> out) {
  const int64_t height = images.shape[2], width = images.shape[3];
  bool all_valid = true;
  parallel_for(images.shape[1], [&](int64_t i) {
    const Workspace work(images.shape[0], radii.width);
    bool valid = true;
    for (int64_t j = 0; j < height; ++j) {
      for (int64_t start = 0; start < width; start += kBlock) {
        const Block block(images, radii, i, j, start);
        valid &= weigh_block(work, block, places.at(i, j) + start, joint, out);
      }
    }
    if (!valid) __atomic_store_n(&all_valid, false, __ATOMIC_RELAXED);
  });
  return all_valid;
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
