#include "fields/cell_numbers.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

struct Triple {
  Vector z, y, x;
};

Triple edge(const Edges& edges, int n) { return {edges.vector[n][0], edges.vector[n][1], edges.vector[n][2]}; }

Triple operator+(const Triple& a, const Triple& b) { return {a.z + b.z, a.y + b.y, a.x + b.x}; }
Triple operator*(float s, const Triple& a) { return {s * a.z, s * a.y, s * a.x}; }
Vector dot(const Triple& a, const Triple& b) { return a.z * b.z + a.y * b.y + a.x * b.x; }
Triple cross(const Triple& a, const Triple& b) {
  return {a.y * b.x - a.x * b.y, a.x * b.z - a.z * b.x, a.z * b.y - a.y * b.z};
}

// Add det(edge along i, edge along j, edge along k) to the coefficients for all edges along i, given the products of the
// others by their degree in i. Edges along j and k lie at position q along the other's axis.
void add_products(const Edges& edges, const Triple (&products)[3], int j2, int k1, Numbers& numbers) {
  for (int j = 0; j < 2; ++j) {
    for (int k = 0; k < 2; ++k) {
      const float weight = (j + j2 == 1 ? 0.5f : 1.0f) * (k + k1 == 1 ? 0.5f : 1.0f);
      const Triple along = edge(edges, 2 * j + k);
      for (int a = 0; a < 3; ++a) numbers.value[9 * a + 3 * (j + j2) + k + k1] += weight * dot(along, products[a]);
    }
  }
}

// The volume of an inner tetrahedron: from voxel (s, s, s) to the three across its faces, relative to the unit cell.
Vector tetrahedron(const Edges& edges, int s) {
  const int o = 1 - s;
  const Triple ij = edge(edges, 3 * s) + edge(edges, 4 + 2 * o + s);
  const Triple ik = edge(edges, 3 * s) + edge(edges, 8 + 2 * o + s);
  const Triple jk = edge(edges, 4 + 3 * s) + edge(edges, 8 + 2 * s + o);
  return -0.5f * dot(ij, cross(ik, jk));  // left-handed, and twice as large as one at a corner
}

}  // namespace

void compute_numbers(const Edges& edges, Numbers& numbers) {
  for (int n = 0; n < kNumbers; ++n) numbers.value[n] = Vector{};
  // d/di is a polynomial in j and k with the edges along i as coefficients, and so on; degrees add up in products.
  for (int j2 = 0; j2 < 2; ++j2) {
    for (int k1 = 0; k1 < 2; ++k1) {
      const Triple along_j[2] = {edge(edges, 4 + k1), edge(edges, 6 + k1)};
      const Triple along_k[2] = {edge(edges, 8 + j2), edge(edges, 10 + j2)};
      const Triple mixed = cross(along_j[0], along_k[1]) + cross(along_j[1], along_k[0]);
      const Triple products[3] = {cross(along_j[0], along_k[0]), 0.5f * mixed, cross(along_j[1], along_k[1])};
      add_products(edges, products, j2, k1, numbers);
    }
  }
  numbers.value[27] = tetrahedron(edges, 0);
  numbers.value[28] = tetrahedron(edges, 1);
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
