#include "fields/folds.hpp"

#include <cstring>

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "fields/cell_numbers.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// The rows of u around a row of cells, at (i, j) = (0, 0), (0, 1), (1, 0), (1, 1), with their first and last voxel
// repeated. Beyond, there are zeros for whole vectors.
class CellRows {
 public:
  explicit CellRows(ConstField u) : u_(u), stride_(u.shape[3] + 2 + lanes), rows_(12 * stride_) {
    std::memset(rows_.get(), 0, 12 * stride_ * sizeof(float));
  }

  void find(int64_t i, int64_t j) const {
    const int64_t depth = u_.shape[1], height = u_.shape[2], width = u_.shape[3];
    for (int n = 0; n < 12; ++n) {
      const int64_t z = most(least(i - 1 + (n >> 1 & 1), depth - 1), 0), y = most(least(j - 1 + (n & 1), height - 1), 0);
      float* to = row(n >> 2, n & 3);
      std::memcpy(to + 1, u_.at(n >> 2, z, y), width * sizeof(float));
      to[0] = to[1];
      to[width + 1] = to[width];
    }
  }

  // The edges of the cells from k on.
  void edges(int64_t k, Edges& out) const {
    for (int c = 0; c < 3; ++c) {
      Vector voxel[8];
      for (int n = 0; n < 8; ++n) voxel[n] = load(row(c, n >> 1) + k + (n & 1));
      for (int e = 0; e < kEdges; ++e) {
        const float unit = e >> 2 == c ? 1.0f : 0.0f;
        out.vector[e][c] = (voxel[end_of(e)] - voxel[start_of(e)]) + unit;
      }
    }
  }

 private:
  float* row(int component, int n) const { return &rows_[(4 * component + n) * stride_]; }

  ConstField u_;
  int64_t stride_;
  Scratch<float> rows_;
};

Vector lowest(const Numbers& numbers) {
  Vector least = numbers.value[0], sum = numbers.value[0];
  for (int n = 1; n < kNumbers; ++n) {
    least = numbers.value[n] < least ? numbers.value[n] : least;
    sum += numbers.value[n];
  }
  return sum == sum ? least : sum;  // NaN where any is
}

}  // namespace

void lowest_determinants(ConstField u, Volume out) {
  parallel_for(out.shape[0], [&](int64_t i) {
    const CellRows rows(u);
    Edges edges;
    Numbers numbers;
    for (int64_t j = 0; j < out.shape[1]; ++j) {
      rows.find(i, j);
      for (int64_t k = 0; k < out.shape[2]; k += lanes) {
        rows.edges(k, edges);
        compute_numbers(edges, numbers);
        store_first(out.at(i, j, k), lowest(numbers), out.shape[2] - k);
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
