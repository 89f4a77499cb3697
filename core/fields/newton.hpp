// Inversion of a displacement field at one point. For kernel files only: see base/dispatch.hpp.
//
// Newton's method on the trilinear interpolant; a step that does not bring the point closer is halved, and replaced by
// the plain fixed-point step -(y + u(y) - x). If this fails, at kinks between cells and at folds, it restarts inside each
// nearby cell whose image may contain x.
// For a bounded u a solution exists for every x, folds or not.
#pragma once

#include <cstdint>

#include "base/view.hpp"
#include "fields/inverse.hpp"
#include "fields/nearby_cells.hpp"
#include "sampling/cells.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

struct Point {
  double z, y, x;
};

[[gnu::always_inline]] inline Point operator+(Point a, Point b) { return {a.z + b.z, a.y + b.y, a.x + b.x}; }
[[gnu::always_inline]] inline Point operator-(Point a, Point b) { return {a.z - b.z, a.y - b.y, a.x - b.x}; }
[[gnu::always_inline]] inline Point operator*(double s, Point a) { return {s * a.z, s * a.y, s * a.x}; }
[[gnu::always_inline]] inline double squared(Point a) { return a.z * a.z + a.y * a.y + a.x * a.x; }

// The components of u at a point, with their derivatives.
struct Jet {
  Sample z, y, x;

  Point value() const { return {z.value, y.value, x.value}; }
};

[[gnu::always_inline]] inline Jet jet_at(ConstField u, Point at) {
  const ConstVolume z = u[0], y = u[1], x = u[2];
  const Cell cell = cell_at(z.shape, at.z, at.y, at.x);
  return {sample_cell(z, cell), sample_cell(y, cell), sample_cell(x, cell)};
}

constexpr double kMinDeterminant = 0.02;  // below, the map is close to folding and Newton's step is too long

// Return (I + Du)^-1 residual, by Cramer's rule; the residual itself if the map is close to folding.
[[gnu::always_inline]] inline Point newton_step(const Jet& u, Point residual) {
  const double a0 = 1.0 + u.z.along_z, a1 = u.z.along_y, a2 = u.z.along_x;
  const double b0 = u.y.along_z, b1 = 1.0 + u.y.along_y, b2 = u.y.along_x;
  const double c0 = u.x.along_z, c1 = u.x.along_y, c2 = 1.0 + u.x.along_x;
  const double p = b1 * c2 - b2 * c1, q = b2 * c0 - b0 * c2, r = b0 * c1 - b1 * c0;
  const double determinant = a0 * p + a1 * q + a2 * r;
  if (!(determinant > kMinDeterminant)) return residual;
  const double scale = 1.0 / determinant, z = residual.z, y = residual.y, x = residual.x;
  return {scale * (p * z + (a2 * c1 - a1 * c2) * y + (a1 * b2 - a2 * b1) * x),
          scale * (q * z + (a0 * c2 - a2 * c0) * y + (a2 * b0 - a0 * b2) * x),
          scale * (r * z + (a1 * c0 - a0 * c1) * y + (a0 * b1 - a1 * b0) * x)};
}

// The search for points y with y + u(y) = x.
class Inverse {
 public:
  Inverse(ConstField u, Accuracy accuracy)
      : u_(u), iterations_(accuracy.iterations), enough_(accuracy.tolerance * accuracy.tolerance) {}

  struct Found {
    Point y;
    double error;  // squared
  };

  const ConstField& field() const { return u_; }
  double iterations() const { return static_cast<double>(iterations_); }
  double enough() const { return enough_; }  // squared error

  // Return what Newton's method found if it is a solution, else one from the cells around, or the closest point.
  Point complete(Point x, Found found) const {
    if (!(found.error <= enough_) && found.error < kInfinity) search_around(x, found);
    return found.y;
  }

 private:
  static constexpr double kInfinity = __builtin_inf();

  Found solve(Point x, Point start) const {
    Found best{start, kInfinity};
    Point trial = start, residual{0, 0, 0}, step{0, 0, 0};
    double length = 1.0;
    for (int64_t n = 0; n <= iterations_; ++n) {
      const Jet u = jet_at(u_, trial);
      const Point miss = trial + u.value() - x;
      const double error = squared(miss);
      if (error < best.error) {
        best = {trial, error};
        residual = miss;
        if (error <= enough_) break;
        length = 2.0 * length < 1.0 ? 2.0 * length : 1.0;
        step = newton_step(u, residual);
      } else {
        length *= 0.5;
        step = residual;
      }
      trial = best.y - length * step;
    }
    return best;
  }

  // Try the cells around, nearest first.
  [[gnu::noinline]] void search_around(Point x, Found& found) const {
    const Index centre{whole(found.y.z), whole(found.y.y), whole(found.y.x)};
    if (search_shells(x, centre, 0, 1, found)) return;
    search_shells(x, centre, 2, NearbyCells::kReach, found);
  }

  // Try the cells at distances from `first` to `last`. Return whether the error is small enough.
  bool search_shells(Point x, Index centre, int first, int last, Found& found) const {
    const NearbyCells cells(u_, centre, {x.z, x.y, x.x}, last);
    for (int radius = first; radius <= last; ++radius) {
      for (int a = -radius; a <= radius; ++a) {
        for (int b = -radius; b <= radius; ++b) {
          const bool side = a == radius || a == -radius || b == radius || b == -radius;
          for (int c = -radius; c <= radius; c += side ? 1 : 2 * radius) {
            if (cells.may_hold(a, b, c) && try_cell(x, {centre.z + a, centre.y + b, centre.x + c}, found)) return true;
          }
        }
      }
    }
    return false;
  }

  static int64_t whole(double x) {
    constexpr double far = 1e15;  // voxels; still exact, and no overflow
    x = x > -far ? x : -far;
    return static_cast<int64_t>(__builtin_floor(x < far ? x : far));
  }

  // Start from the centres of the octants of a cell, then from its own. Return whether the error is small enough.
  bool try_cell(Point x, Index cell, Found& found) const {
    const Point corner{static_cast<double>(cell.z), static_cast<double>(cell.y), static_cast<double>(cell.x)};
    for (int n = 0; n < 9 && !(found.error <= enough_); ++n) {
      const Point octant{0.25 + 0.5 * (n >> 2), 0.25 + 0.5 * (n >> 1 & 1), 0.25 + 0.5 * (n & 1)};
      const Found other = solve(x, corner + (n == 8 ? Point{0.5, 0.5, 0.5} : octant));
      if (other.error < found.error) found = other;
    }
    return found.error <= enough_;
  }

  ConstField u_;
  int64_t iterations_;
  double enough_;
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
