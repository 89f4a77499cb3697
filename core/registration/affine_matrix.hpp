// Small dense matrices in float64.
#pragma once

#include <array>
#include <vector>

namespace lightcrcf {

using Vector3 = std::array<double, 3>;

// A (4, 4) matrix, row-major.
struct Matrix4 {
  std::array<double, 16> values{};

  double& operator()(int row, int column) { return values[4 * row + column]; }
  double operator()(int row, int column) const { return values[4 * row + column]; }

  static Matrix4 identity();
  static Matrix4 from(const double* values);
};

Matrix4 operator*(const Matrix4& a, const Matrix4& b);
Matrix4 operator*(double scale, const Matrix4& matrix);
Matrix4& operator+=(Matrix4& a, const Matrix4& b);

// Return an affine (last row 0 0 0 1) applied to a point.
Vector3 transform_point(const Matrix4& affine, const Vector3& point);

// Return the inverse of an affine.
Matrix4 inverse(const Matrix4& affine);

double determinant(const Matrix4& affine);

// Return the matrix exponential by scaling, a Taylor series and squaring.
Matrix4 exponential(const Matrix4& matrix);

// Eigenvalues of a symmetric (3, 3) matrix in ascending order, and its unit eigenvectors: vectors[axis][n].
struct Eigen3 {
  Vector3 values;
  double vectors[3][3];
};

// Compute them by Jacobi rotations.
Eigen3 symmetric_eigen(const double (&matrix)[3][3]);

// Solve matrix @ x = right by elimination with row pivoting. matrix: (n, n), n the size of `right`.
std::vector<double> solve(std::vector<double> matrix, std::vector<double> right);

}  // namespace lightcrcf
