// The Jacobian determinant within cells. For kernel files only: see base/dispatch.hpp.
//
// The map is y = x + u(x), trilinear in each cell between eight voxels. Cell (i, j, k) lies between the voxels
// (i - 1, j - 1, k - 1) and (i, j, k): a field of D x H x W voxels has (D + 1) x (H + 1) x (W + 1) cells, those at the
// border with u repeated beyond it. In a cell the determinant is a polynomial of second degree along each axis; it lies
// between the minimum and the maximum of its 27 Bernstein coefficients. Each of these is a weighted sum of determinants of
// three of the cell's edges, and so is the volume of its two inner tetrahedra: 29 numbers to a cell.
//
// Voxels of a cell are numbered 4 i + 2 j + k, its edges 4 axis + 2 p + q at positions p and q along the two other axes.
#pragma once

#include <cstdint>

#include "base/simd.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

constexpr int kEdges = 12, kNumbers = 29;

// The voxel where an edge starts; it ends 4, 2 or 1 further on.
constexpr int start_of(int edge) {
  const int p = edge >> 1 & 1, q = edge & 1;
  return edge < 4 ? 2 * p + q : edge < 8 ? 4 * p + q : 4 * p + 2 * q;
}
constexpr int end_of(int edge) { return start_of(edge) + (4 >> (edge >> 2)); }

// Edges of as many cells as a vector has lanes, after x + u(x): vector[edge][component].
struct Edges {
  Vector vector[kEdges][3];
};

// The numbers of those cells. Coefficient 9 a + 3 b + c has degrees a, b and c along the three axes.
struct Numbers {
  Vector value[kNumbers];
};

// Compute the numbers of cells. One function for all that compare them, so that they agree to the last bit.
void compute_numbers(const Edges& edges, Numbers& numbers);

}  // namespace lightcrcf::LIGHTCRCF_ISA
