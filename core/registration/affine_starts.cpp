#include "registration/affine_starts.hpp"

#include <algorithm>
#include <cmath>

namespace lightcrcf {
namespace {

// Return the 24 rotations of the cube in the order of permutations, then of signs, the identity first.
std::vector<Matrix4> cube_rotations() {
  std::vector<Matrix4> result;
  int order[3] = {0, 1, 2};
  do {
    for (int signs = 0; signs < 8; ++signs) {
      Matrix4 matrix;
      for (int row = 0; row < 3; ++row) matrix(row, order[row]) = (signs >> (2 - row)) & 1 ? -1.0 : 1.0;
      matrix(3, 3) = 1.0;
      if (determinant(matrix) > 0.0) result.push_back(matrix);
    }
  } while (std::next_permutation(order, order + 3));
  return result;
}

Matrix4 eighth_turn(int axis) {
  const int a = (axis + 1) % 3, b = (axis + 2) % 3;
  const double half = std::sqrt(0.5);
  Matrix4 turn = Matrix4::identity();
  turn(a, a) = turn(b, a) = turn(b, b) = half;
  turn(a, b) = -half;
  return turn;
}

// Return the matrix with a rotation that aligns two centroids.
Matrix4 align_centroids(const Vector3& fixed_mm, const Vector3& moving_mm, Matrix4 rotation) {
  const Vector3 turned = transform_point(rotation, fixed_mm);
  for (int axis = 0; axis < 3; ++axis) rotation(axis, 3) = moving_mm[axis] - turned[axis];
  return rotation;
}

}  // namespace

std::vector<Matrix4> rotations() {
  const std::vector<Matrix4> cube = cube_rotations();
  std::vector<Matrix4> result = cube;
  for (int axis = 0; axis < 3; ++axis) {
    for (const Matrix4& matrix : cube) result.push_back(matrix * eighth_turn(axis));
  }
  return result;
}

std::vector<Matrix4> affine_starts(const Vector3& fixed_mm, const Vector3& moving_mm, bool upright) {
  if (upright) return {Matrix4::identity(), align_centroids(fixed_mm, moving_mm, Matrix4::identity())};
  std::vector<Matrix4> starts;
  for (const Matrix4& rotation : rotations()) starts.push_back(align_centroids(fixed_mm, moving_mm, rotation));
  starts.erase(starts.begin());
  return starts;
}

}  // namespace lightcrcf
