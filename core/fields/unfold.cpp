#include "fields/unfold.hpp"

#include "base/parallel.hpp"
#include "fields/cell_numbers.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int64_t kBlock = 64;  // cells, or voxels, that a thread takes at a time

// Number `which` is the sum of weight * det(edges) over the terms that are visited: visit(weight, edges).
template <typename Visit>
void for_terms(int which, const Visit& visit) {
  if (which >= 27) {
    const int s = which - 27, o = 1 - s;
    const int ij[2] = {3 * s, 4 + 2 * o + s}, ik[2] = {3 * s, 8 + 2 * o + s}, jk[2] = {4 + 3 * s, 8 + 2 * s + o};
    for (int n = 0; n < 8; ++n) visit(-0.5f, ij[n >> 2], ik[n >> 1 & 1], jk[n & 1]);
    return;
  }
  const int degree[3] = {which / 9, which / 3 % 3, which % 3};
  float weight = 1.0f;
  for (int axis = 0; axis < 3; ++axis) weight *= degree[axis] == 1 ? 0.5f : 1.0f;
  for (int n = 0; n < 8; ++n) {
    const int i1 = n >> 2, j = n >> 1 & 1, k = n & 1, i2 = degree[0] - i1, j2 = degree[1] - j, k1 = degree[2] - k;
    if ((i2 | j2 | k1) >> 1 == 0) visit(weight, 2 * j + k, 4 + 2 * i1 + k1, 8 + 2 * i2 + j2);
  }
}

// A cell: flat indices of its voxels. Voxels at a border coincide: n & mask is the first that is the same as n.
struct Voxels {
  int64_t at[8];
  int mask;
};

Voxels voxels_of(int64_t cell, ConstVolume grid) {
  const int64_t depth = grid.shape[0], height = grid.shape[1], width = grid.shape[2];
  const int64_t row = cell / (width + 1), k = cell % (width + 1), i = row / (height + 1), j = row % (height + 1);
  const int64_t z[2] = {most(i - 1, 0), least(i, depth - 1)}, y[2] = {most(j - 1, 0), least(j, height - 1)},
                x[2] = {most(k - 1, 0), least(k, width - 1)};
  Voxels voxels;
  for (int n = 0; n < 8; ++n) voxels.at[n] = (z[n >> 2] * height + y[n >> 1 & 1]) * width + x[n & 1];
  voxels.mask = (z[1] > z[0] ? 4 : 0) + (y[1] > y[0] ? 2 : 0) + (x[1] > x[0] ? 1 : 0);
  return voxels;
}

// The repair of one cell; the others of its vectors are not used.
class Cell {
 public:
  Cell(Field u, int64_t cell) : u_(u), voxels_(voxels_of(cell, u[0])) {}

  // Return whether voxels moved.
  bool repair(const Repair& repair) {
    for (int turn = 0; turn < 2; ++turn) {
      const int which = lowest();
      const float number = numbers_.value[which][0];
      if (number >= repair.floor) return turn;
      const float squared = differentiate(which);
      if (!(squared > 1e-4f && squared < 1e8f)) return turn;
      const float wanted = repair.factor * (repair.target - number) / squared, limit = 0.5f / __builtin_sqrtf(squared);
      move(wanted < limit ? wanted : limit);
    }
    return true;
  }

 private:
  // Return the index of the least number; NaN counts as least.
  int lowest() {
    for (int e = 0; e < kEdges; ++e) {
      for (int c = 0; c < 3; ++c) {
        const float* component = u_.at(c);
        const float unit = e >> 2 == c ? 1.0f : 0.0f;
        edges_.vector[e][c] = broadcast((component[voxels_.at[end_of(e)]] - component[voxels_.at[start_of(e)]]) + unit);
      }
    }
    compute_numbers(edges_, numbers_);
    int which = 0;
    for (int n = 1; n < kNumbers; ++n) {
      if (!(numbers_.value[n][0] >= numbers_.value[which][0])) which = n;
    }
    return which;
  }

  // Find the derivative of a number by the displacements of the voxels, and return its squared length. Voxels that are
  // one and the same, at a border, add up in the first of them.
  float differentiate(int which) {
    for (auto& voxel : gradient_) voxel[0] = voxel[1] = voxel[2] = 0.0f;
    for_terms(which, [&](float weight, int a, int b, int c) {
      add_by_edge(weight, a, b, c);
      add_by_edge(weight, b, c, a);
      add_by_edge(weight, c, a, b);
    });
    float squared = 0.0f;
    for (const auto& voxel : gradient_) squared += voxel[0] * voxel[0] + voxel[1] * voxel[1] + voxel[2] * voxel[2];
    return squared;
  }

  // Add the derivative of weight * det(edge, a, b) by an edge to its two voxels.
  void add_by_edge(float weight, int edge, int a, int b) {
    for (int c = 0; c < 3; ++c) {
      const int p = (c + 1) % 3, q = (c + 2) % 3;
      const float by_edge = weight * (component(a, p) * component(b, q) - component(a, q) * component(b, p));
      gradient_[start_of(edge) & voxels_.mask][c] -= by_edge;
      gradient_[end_of(edge) & voxels_.mask][c] += by_edge;
    }
  }
  float component(int edge, int c) const { return edges_.vector[edge][c][0]; }

  void move(float step) {
    for (int n = 0; n < 8; ++n) {
      // Duplicates of voxels at a border have no gradient.
      for (int c = 0; c < 3; ++c) u_.at(c)[voxels_.at[n]] += step * gradient_[n][c];
    }
  }

  Field u_;
  Voxels voxels_;
  Edges edges_;
  Numbers numbers_;
  float gradient_[8][3];
};

// The rows of voxels around a voxel, as offsets, their weights, and the voxels beside it.
struct Around {
  int64_t row[9], before, here, after;
  float weight[9];
};

Around around(int64_t voxel, ConstVolume grid) {
  const int64_t depth = grid.shape[0], height = grid.shape[1], width = grid.shape[2];
  const int64_t line = voxel / width, k = voxel - line * width, i = line / height, j = line - i * height;
  Around found{{}, most(k - 1, 0), k, least(k + 1, width - 1), {}};
  for (int n = 0; n < 9; ++n) {
    const int a = n / 3 - 1, b = n % 3 - 1;
    found.row[n] = (most(least(i + a, depth - 1), 0) * height + most(least(j + b, height - 1), 0)) * width;
    found.weight[n] = static_cast<float>((a == 0 ? 2 : 1) * (b == 0 ? 2 : 1));
  }
  return found;
}

float smooth_one(const float* component, const Around& around) {
  float total = 0.0f;
  for (int n = 0; n < 9; ++n) {
    const float* row = component + around.row[n];
    total += around.weight[n] * (row[around.before] + row[around.here] + row[around.here] + row[around.after]);
  }
  return total * (1.0f / 64.0f);
}

// Call body(n) for all n in [0, count), in parallel by blocks.
template <typename Body>
void for_blocks(int64_t count, const Body& body) {
  parallel_for((count + kBlock - 1) / kBlock, [&](int64_t block) {
    for (int64_t n = block * kBlock; n < least((block + 1) * kBlock, count); ++n) body(n);
  });
}

}  // namespace

void unfold(Field u, View<const int64_t, 1> cells, Repair repair, View<uint8_t, 1> moved) {
  for_blocks(cells.shape[0], [&](int64_t n) { moved.data[n] = Cell(u, cells.data[n]).repair(repair) ? 1 : 0; });
}

void smooth_at(ConstField u, View<const int64_t, 1> voxels, View<float, 2> out) {
  for_blocks(voxels.shape[0], [&](int64_t n) {
    const Around neighbours = around(voxels.data[n], u[0]);
    for (int64_t c = 0; c < 3; ++c) *out.at(c, n) = smooth_one(u.at(c), neighbours);
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
