#include "registration/affine_fit.hpp"

#include <algorithm>
#include <cmath>

namespace lightcrcf {
namespace {

constexpr double kFirstDamping = 1e-3, kMostDamping = 1e3;

// An affine, the generators about the centre of the fixed foreground under it, and its system.
struct Point {
  Matrix4 matrix;
  std::vector<Matrix4> basis;
  AffineSystem system;
};

Point evaluate(const AffinePairs& pairs, const Matrix4& matrix, const FitOptions& options) {
  std::vector<Matrix4> basis = affine_generators(transform_point(matrix, pairs.centroid_mm), pairs.radius_mm);
  basis.resize(static_cast<size_t>(options.freedom));
  AffineSystem system = affine_system(pairs, matrix, basis, options.prior, options.measure);
  return {matrix, std::move(basis), std::move(system)};
}

std::vector<double> damped_step(const AffineSystem& system, double damping) {
  std::vector<double> hessian = system.hessian;
  const size_t size = system.descent.size();
  for (size_t n = 0; n < size; ++n) hessian[n * size + n] += damping * hessian[n * size + n] + 1e-9;
  return solve(std::move(hessian), system.descent);
}

Matrix4 move(const Point& from, const std::vector<double>& step) {
  Matrix4 velocity;
  for (size_t n = 0; n < step.size(); ++n) velocity += step[n] * from.basis[n];
  return exponential(velocity) * from.matrix;
}

double longest(const std::vector<double>& step) {
  double most = 0.0;
  for (double value : step) most = std::max(most, std::fabs(value));
  return most;
}

}  // namespace

AffineFit fit_affine(const AffinePairs& pairs, const AffineFit& start, const FitOptions& options) {
  Point now = evaluate(pairs, start.matrix, options);
  double damping = kFirstDamping;
  int steps = 0;
  while (steps < options.iterations && std::isfinite(now.system.cost) && damping < kMostDamping) {
    ++steps;
    const std::vector<double> step = damped_step(now.system, damping);
    Point trial = evaluate(pairs, move(now, step), options);
    if (trial.system.cost < now.system.cost) {
      now = std::move(trial);
      damping *= 0.1;
    } else {
      damping = std::max(damping, 1e-4) * 10.0;
    }
    if (longest(step) < options.tolerance_mm) break;
  }
  return {now.matrix, now.system.cost, start.iterations + steps};
}

}  // namespace lightcrcf
