#include "registration/affine_system.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "affine/correlation.hpp"
#include "affine/normal_equations.hpp"
#include "registration/sample_threads.hpp"

namespace lightcrcf {
namespace {

constexpr double kMostStretch = 2.0;  // along any direction; anatomy never needs more
constexpr double kLeastVariance = 1e-9;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Return whether a matrix stretches or shrinks no direction too much.
bool stretches_little(const Eigen3& squares) {
  constexpr double limit = kMostStretch * kMostStretch;
  return squares.values[0] >= 1.0 / limit && squares.values[2] <= limit;
}

// Return the eigenvalues of A A^T of the linear part A, the squared stretches.
Eigen3 squared_stretches(const Matrix4& matrix) {
  double product[3][3];
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      product[row][column] = 0.0;
      for (int n = 0; n < 3; ++n) product[row][column] += matrix(row, n) * matrix(column, n);
    }
  }
  return symmetric_eigen(product);
}

// sum += share * addend, for the parts of systems of the same size; costs are not added.
void add(AffineSystem& sum, double share, const AffineSystem& addend) {
  for (size_t n = 0; n < sum.hessian.size(); ++n) sum.hessian[n] += share * addend.hessian[n];
  for (size_t n = 0; n < sum.descent.size(); ++n) sum.descent[n] += share * addend.descent[n];
}

AffineSystem zero_system(size_t size) {
  return {0.0, std::vector<double>(size * size), std::vector<double>(size)};
}

void add_prior(AffineSystem& system, const Strain& strain, double prior) {
  const size_t size = system.descent.size();
  const auto dot = [](const std::array<double, 9>& a, const std::array<double, 9>& b) {
    double sum = 0.0;
    for (size_t n = 0; n < 9; ++n) sum += a[n] * b[n];
    return sum;
  };
  system.cost += prior * dot(strain.values, strain.values);
  for (size_t row = 0; row < size; ++row) {
    for (size_t column = 0; column < size; ++column) {
      system.hessian[row * size + column] += prior * dot(strain.derivatives[row], strain.derivatives[column]);
    }
    system.descent[row] -= prior * dot(strain.derivatives[row], strain.values);
  }
}

// Return the average of both directions of one pair, and the prior.
AffineSystem symmetric_system(const AffinePair& pair, const Matrix4& matrix, const std::vector<Matrix4>& basis, double prior,
                              AffineMeasure measure) {
  if (!stretches_little(squared_stretches(matrix))) return AffineSystem::invalid(basis.size());
  const Matrix4 backwards = inverse(matrix);
  const double least = kLeastOverlap * std::min(pair.fixed.litres, pair.moving.litres);
  std::vector<Matrix4> forward(basis.size()), backward(basis.size());
  for (size_t n = 0; n < basis.size(); ++n) {
    forward[n] = basis[n] * matrix;
    backward[n] = -1.0 * (backwards * basis[n]);
  }
  const auto direction = measure == AffineMeasure::correlation ? correlation_system : information_system;
  const AffineSystem at_fixed = direction({pair.fixed, pair.read_by_fixed, matrix, forward, least});
  const AffineSystem at_moving = direction({pair.moving, pair.read_by_moving, backwards, backward, least});
  AffineSystem system = zero_system(basis.size());
  system.cost = (at_fixed.cost + at_moving.cost) / 2.0;
  add(system, 0.5, at_fixed);
  add(system, 0.5, at_moving);
  add_prior(system, logarithmic_strain(matrix, basis), prior);
  return system;
}

// Return the images of a comparison, and the matrix between their voxels as (3, 4).
Alignment alignment(const AffineImage& reference, const AffineImage& other) {
  return {reference.image, reference.samples, other.image, other.valid, other.blank_outside};
}

}  // namespace

AffineSystem AffineSystem::invalid(size_t size) {
  AffineSystem system = zero_system(size);
  system.cost = kInfinity;
  for (size_t n = 0; n < size; ++n) system.hessian[n * size + n] = 1.0;
  return system;
}

std::vector<Matrix4> affine_generators(const Vector3& centre_mm, double radius_mm) {
  std::vector<Matrix4> basis(12);
  for (int n = 0; n < 3; ++n) {
    const int a = (n + 1) % 3, b = (n + 2) % 3;
    basis[n](n, 3) = radius_mm;
    basis[3 + n](a, b) = -1.0;
    basis[3 + n](b, a) = 1.0;
    basis[9 + n](a, b) = basis[9 + n](b, a) = 1.0;
    basis[6](n, n) = 1.0;
  }
  basis[7](0, 0) = 1.0, basis[7](1, 1) = -1.0;
  basis[8](0, 0) = basis[8](1, 1) = -0.5, basis[8](2, 2) = 1.0;
  for (size_t n = 3; n < basis.size(); ++n) {
    for (int row = 0; row < 3; ++row) {
      for (int column = 0; column < 3; ++column) basis[n](row, 3) -= basis[n](row, column) * centre_mm[column];
    }
  }
  for (Matrix4& generator : basis) {
    for (double& value : generator.values) value /= radius_mm;
  }
  return basis;
}

Strain logarithmic_strain(const Matrix4& matrix, const std::vector<Matrix4>& basis) {
  const Eigen3 eigen = squared_stretches(matrix);
  Strain strain{{}, std::vector<std::array<double, 9>>(basis.size())};
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      for (int n = 0; n < 3; ++n) {
        strain.values[3 * row + column] +=
            eigen.vectors[row][n] * 0.5 * std::log(eigen.values[n]) * eigen.vectors[column][n];
      }
      for (size_t n = 0; n < basis.size(); ++n) {
        strain.derivatives[n][3 * row + column] = (basis[n](row, column) + basis[n](column, row)) / 2.0;
      }
    }
  }
  return strain;
}

AffineSystem OneSided::system(double cost, const double* hessian, const double* descent) const {
  const size_t size = derivatives.size();
  std::vector<double> jacobian(size * 12), product(size * 12);
  for (size_t n = 0; n < size; ++n) {
    const Matrix4 change = other.to_voxels * derivatives[n] * reference.to_mm;
    std::copy_n(change.values.begin(), 12, &jacobian[n * 12]);
    for (size_t column = 0; column < 12; ++column) {
      for (size_t k = 0; k < 12; ++k) product[n * 12 + column] += jacobian[n * 12 + k] * hessian[k * 12 + column];
    }
  }
  AffineSystem system = zero_system(size);
  system.cost = cost;
  for (size_t row = 0; row < size; ++row) {
    for (size_t k = 0; k < 12; ++k) {
      system.descent[row] += jacobian[row * 12 + k] * descent[k];
      for (size_t column = 0; column < size; ++column) {
        system.hessian[row * size + column] += product[row * 12 + k] * jacobian[column * 12 + k];
      }
    }
  }
  return system;
}

AffineSystem correlation_system(const OneSided& samples) {
  const AffineSystem invalid = AffineSystem::invalid(samples.derivatives.size());
  double sums[15][15], hessian[144], descent[12];
  const Matrix4 index = samples.index();
  {
    const SampleThreads threads(samples.reference.image.size());
    normal_equations(alignment(samples.reference, samples.other), Matrix{index.values.data(), {3, 4}},
                     View<double, 2>{&sums[0][0], {15, 15}});
  }
  const double weight = sums[13][13];
  if (weight * samples.reference.litres_per_weight < samples.least_litres) return invalid;
  const auto centred = [&sums, weight](int a, int b) { return sums[a][b] - sums[a][13] * sums[13][b] / weight; };
  const double moving = centred(12, 12), fixed = centred(14, 14), covariance = centred(12, 14);
  if (!(std::min(moving, fixed) > kLeastVariance * weight)) return invalid;
  const double scale = covariance / moving;
  for (int row = 0; row < 12; ++row) {
    for (int column = 0; column < 12; ++column) {
      hessian[row * 12 + column] =
          scale * scale / fixed * (centred(row, column) - centred(row, 12) * centred(12, column) / moving);
    }
    descent[row] = scale / fixed * (centred(row, 14) - centred(row, 12) * scale);
  }
  const double square = covariance * std::fabs(covariance) / (moving * fixed);  // negative if the correlation is
  return samples.system(1.0 - square, hessian, descent);
}

AffineSystem affine_system(const AffinePairs& all, const Matrix4& matrix, const std::vector<Matrix4>& basis, double prior,
                           AffineMeasure measure) {
  const double uninformative = measure == AffineMeasure::correlation ? 1.0 : 0.0;  // cost of independent images
  AffineSystem first = symmetric_system(all.pairs.front(), matrix, basis, prior, measure);
  if (all.pairs.size() == 1 || !std::isfinite(first.cost)) return first;
  AffineSystem sum = zero_system(basis.size());
  for (size_t n = 0; n < all.pairs.size(); ++n) {
    const AffinePair& pair = all.pairs[n];
    const AffineSystem system = n == 0 ? first : symmetric_system(pair, matrix, basis, prior, measure);
    sum.cost += pair.weight * (std::isfinite(system.cost) ? system.cost : uninformative);
    if (std::isfinite(system.cost)) add(sum, pair.weight, system);
  }
  return sum;
}

namespace {

// Return the correlation from a row of `correlation_sums`, and its weight.
double correlation(const double* sums) {
  const double weight = std::max(sums[3], 1e-30), mm = std::max(sums[0], 0.0), ff = std::max(sums[5], 0.0);
  const double moving = mm - sums[1] * sums[1] / weight, fixed = ff - sums[4] * sums[4] / weight;
  if (!(std::min(moving, fixed) > kLeastVariance * weight)) return 0.0;
  return (sums[2] - sums[4] * sums[1] / weight) / std::sqrt(moving * fixed);
}

// Add the correlations at the samples of one image, reduced for little overlap, times a weight.
void add_correlations(const AffineImage& reference, const AffineImage& other, const std::vector<Matrix4>& matrices,
                      double full_litres, double share, std::vector<double>& total) {
  const auto count = static_cast<int64_t>(matrices.size());
  std::vector<double> index(matrices.size() * 12), sums(matrices.size() * 6);
  for (size_t n = 0; n < matrices.size(); ++n) {
    const Matrix4 between = other.to_voxels * matrices[n] * reference.to_mm;
    std::copy_n(between.values.begin(), 12, &index[n * 12]);
  }
  const SampleThreads threads(reference.image.size() * count);
  correlation_sums(alignment(reference, other), View<const double, 3>{index.data(), {count, 3, 4}},
                   View<double, 2>{sums.data(), {count, 6}});
  for (size_t n = 0; n < matrices.size(); ++n) {
    const double overlap = std::max(sums[n * 6 + 3], 1e-30) * reference.litres_per_weight / full_litres;
    total[n] += share * correlation(&sums[n * 6]) * std::min(overlap, 1.0);
  }
}

}  // namespace

std::vector<double> affine_correlations(const AffinePairs& all, const std::vector<Matrix4>& matrices) {
  std::vector<Matrix4> backwards;
  for (const Matrix4& matrix : matrices) backwards.push_back(inverse(matrix));
  std::vector<double> total(matrices.size());
  for (const AffinePair& pair : all.pairs) {
    const double full = kFullOverlap * std::min(pair.fixed.litres, pair.moving.litres);
    add_correlations(pair.fixed, pair.read_by_fixed, matrices, full, pair.weight / 2.0, total);
    add_correlations(pair.moving, pair.read_by_moving, backwards, full, pair.weight / 2.0, total);
  }
  return total;
}

}  // namespace lightcrcf
