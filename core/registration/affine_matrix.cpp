#include "registration/affine_matrix.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace lightcrcf {

Matrix4 Matrix4::identity() {
  Matrix4 result;
  for (int n = 0; n < 4; ++n) result(n, n) = 1.0;
  return result;
}

Matrix4 Matrix4::from(const double* values) {
  Matrix4 result;
  std::copy_n(values, 16, result.values.begin());
  return result;
}

Matrix4 operator*(const Matrix4& a, const Matrix4& b) {
  Matrix4 product;
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 4; ++column) {
      for (int n = 0; n < 4; ++n) product(row, column) += a(row, n) * b(n, column);
    }
  }
  return product;
}

Matrix4 operator*(double scale, const Matrix4& matrix) {
  Matrix4 product;
  for (size_t n = 0; n < 16; ++n) product.values[n] = scale * matrix.values[n];
  return product;
}

Matrix4& operator+=(Matrix4& a, const Matrix4& b) {
  for (size_t n = 0; n < 16; ++n) a.values[n] += b.values[n];
  return a;
}

Vector3 transform_point(const Matrix4& affine, const Vector3& point) {
  Vector3 result;
  for (int row = 0; row < 3; ++row) {
    result[row] = affine(row, 0) * point[0] + affine(row, 1) * point[1] + affine(row, 2) * point[2] + affine(row, 3);
  }
  return result;
}

double determinant(const Matrix4& m) {
  return m(0, 0) * (m(1, 1) * m(2, 2) - m(1, 2) * m(2, 1)) - m(0, 1) * (m(1, 0) * m(2, 2) - m(1, 2) * m(2, 0)) +
         m(0, 2) * (m(1, 0) * m(2, 1) - m(1, 1) * m(2, 0));
}

Matrix4 inverse(const Matrix4& affine) {
  const double scale = 1.0 / determinant(affine);
  Matrix4 result;
  for (int row = 0; row < 3; ++row) {
    const int a = (row + 1) % 3, b = (row + 2) % 3;
    for (int column = 0; column < 3; ++column) {
      const int c = (column + 1) % 3, d = (column + 2) % 3;
      result(row, column) = scale * (affine(c, a) * affine(d, b) - affine(c, b) * affine(d, a));
    }
  }
  for (int row = 0; row < 3; ++row) {
    for (int n = 0; n < 3; ++n) result(row, 3) -= result(row, n) * affine(n, 3);
  }
  result(3, 3) = 1.0;
  return result;
}

Matrix4 exponential(const Matrix4& matrix) {
  double largest = 1e-30;
  for (int row = 0; row < 4; ++row) {
    double sum = 0.0;
    for (int column = 0; column < 4; ++column) sum += std::fabs(matrix(row, column));
    largest = std::max(largest, sum);
  }
  const int halvings = std::clamp(static_cast<int>(std::ceil(std::log2(std::min(largest, 1e30)))) + 3, 0, 103);
  const Matrix4 small = std::ldexp(1.0, -halvings) * matrix;
  Matrix4 result = Matrix4::identity(), term = result;
  for (int n = 1; n < 10; ++n) {
    term = (1.0 / n) * (term * small);
    result += term;
  }
  for (int n = 0; n < halvings; ++n) result = result * result;
  return result;
}

namespace {

// Rotate rows and columns p and q so that the entry between them becomes 0.
void rotate(double (&a)[3][3], double (&vectors)[3][3], int p, int q) {
  if (a[p][q] == 0.0) return;
  const double ratio = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
  const double t = std::copysign(1.0, ratio) / (std::fabs(ratio) + std::sqrt(ratio * ratio + 1.0));
  const double c = 1.0 / std::sqrt(t * t + 1.0), s = t * c;
  const auto turn = [c, s](double& x, double& y) {
    const double old = x;
    x = c * old - s * y;
    y = s * old + c * y;
  };
  for (int n = 0; n < 3; ++n) turn(a[n][p], a[n][q]);
  for (int n = 0; n < 3; ++n) turn(a[p][n], a[q][n]);
  for (int n = 0; n < 3; ++n) turn(vectors[n][p], vectors[n][q]);
  a[p][q] = a[q][p] = 0.0;
}

void exchange(Eigen3& eigen, int a, int b) {
  if (!(eigen.values[a] > eigen.values[b])) return;
  std::swap(eigen.values[a], eigen.values[b]);
  for (auto& row : eigen.vectors) std::swap(row[a], row[b]);
}

}  // namespace

Eigen3 symmetric_eigen(const double (&matrix)[3][3]) {
  constexpr int kSweeps = 30;  // it takes about 5
  double a[3][3];
  std::copy_n(&matrix[0][0], 9, &a[0][0]);
  Eigen3 result{{}, {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    rotate(a, result.vectors, 0, 1);
    rotate(a, result.vectors, 0, 2);
    rotate(a, result.vectors, 1, 2);
  }
  for (int n = 0; n < 3; ++n) result.values[n] = a[n][n];
  exchange(result, 0, 1);
  exchange(result, 1, 2);
  exchange(result, 0, 1);
  return result;
}

namespace {

// A square system while it is eliminated.
struct Elimination {
  std::vector<double>& matrix;
  std::vector<double>& right;

  size_t size() const { return right.size(); }
  double& at(size_t row, size_t column) const { return matrix[row * size() + column]; }

  void pivot(size_t step) const {
    size_t best = step;
    for (size_t row = step + 1; row < size(); ++row) {
      if (std::fabs(at(row, step)) > std::fabs(at(best, step))) best = row;
    }
    for (size_t column = 0; column < size(); ++column) std::swap(at(step, column), at(best, column));
    std::swap(right[step], right[best]);
  }

  void eliminate(size_t step) const {
    for (size_t row = step + 1; row < size(); ++row) {
      const double factor = at(row, step) / at(step, step);
      for (size_t column = step; column < size(); ++column) at(row, column) -= factor * at(step, column);
      right[row] -= factor * right[step];
    }
  }
};

}  // namespace

std::vector<double> solve(std::vector<double> matrix, std::vector<double> right) {
  const Elimination system{matrix, right};
  for (size_t step = 0; step < right.size(); ++step) {
    system.pivot(step);
    system.eliminate(step);
  }
  for (size_t row = right.size(); row-- > 0;) {
    for (size_t column = row + 1; column < right.size(); ++column) right[row] -= system.at(row, column) * right[column];
    right[row] /= system.at(row, row);
  }
  return right;
}

}  // namespace lightcrcf
