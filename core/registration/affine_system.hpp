// Gauss-Newton systems of an affine, from fixed to moving RAS mm.
#pragma once

#include <functional>
#include <vector>

#include "registration/affine_pair.hpp"

namespace lightcrcf {

// What an alignment maximises: the squared correlation of images of one contrast, or mutual information.
enum class AffineMeasure { correlation, information };

// Cost and system at one affine: hessian @ step = descent, (n, n) and (n).
struct AffineSystem {
  double cost;  // infinite for too little overlap or contrast
  std::vector<double> hessian, descent;

  static AffineSystem invalid(size_t size);
};

// Return 12 generators about a point: 3 translations, 3 rotations, 1 scale, 5 stretches and shears. Each moves points at
// `radius_mm` by about 1 mm, which conditions the system. Products of their exponentials have a positive determinant, so
// that no alignment is a reflection.
std::vector<Matrix4> affine_generators(const Vector3& centre_mm, double radius_mm);

// Logarithmic strain of a matrix, (3, 3), and its derivatives by each generator.
struct Strain {
  std::array<double, 9> values;
  std::vector<std::array<double, 9>> derivatives;
};
Strain logarithmic_strain(const Matrix4& matrix, const std::vector<Matrix4>& basis);

// The samples of one image, and what they are compared with under a matrix between the two.
struct OneSided {
  const AffineImage& reference;
  const AffineImage& other;
  const Matrix4& matrix;
  const std::vector<Matrix4>& derivatives;  // of the matrix by each generator
  double least_litres;                      // of overlap

  // Return the matrix from voxels of the reference to those of the other image.
  Matrix4 index() const { return other.to_voxels * matrix * reference.to_mm; }

  // Return the system of a cost from its (12, 12) Hessian and (12) descent by the entries of the matrix of indices.
  AffineSystem system(double cost, const double* hessian, const double* descent) const;
};

// Return the system of 1 - correlation squared, where the slope and intercept of the regression are eliminated (Kaufman's
// variable projection). Source: Golub and Pereyra, Separable nonlinear least squares, Inverse Problems 2003.
AffineSystem correlation_system(const OneSided& samples);

// Return the system of minus the mutual information in nats, by Fisher scoring.
AffineSystem information_system(const OneSided& samples);

// Return the average of both directions and by weight over all pairs, plus `prior` times the squared logarithmic strain.
// A further pair without overlap has the cost of independent images.
// basis: generators, composed after `matrix`.
AffineSystem affine_system(const AffinePairs& pairs, const Matrix4& matrix, const std::vector<Matrix4>& basis,
                           double prior, AffineMeasure measure);

// Return the correlations under each affine, averaged over both directions and by weight over all pairs. They fall linearly
// to 0 where less than half of the smaller foreground overlaps.
std::vector<double> affine_correlations(const AffinePairs& pairs, const std::vector<Matrix4>& matrices);

}  // namespace lightcrcf
