// Inversion of a displacement field at one point. For kernel files only: see base/dispatch.hpp.
//
// Newton's method on the trilinear interpolant; a step that does not bring the point closer is halved, and replaced by
// the plain fixed-point step -(y + u(y) - x). If this fails, at kinks between cells and at folds, it restarts inside each
// nearby cell whose image may contain x: the image of a cell lies within the bounding box of those of its eight voxels.
// For a bounded u a solution exists for every x, folds or not.
#pragma once

#include <cstdint>

#include "base/view.hpp"
#include "fields/inverse.hpp"
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

// Return (I + Du)^-1 residual, by Cramer's rule; the residual itself if the map is close to folding, where Newton's step
// is too long.
[[gnu::always_inline]] inline Point newton_step(const Jet& u, Point residual) {
  constexpr double least = 0.02;
  const double a0 = 1.0 + u.z.along_z, a1 = u.z.along_y, a2 = u.z.along_x;
  const double b0 = u.y.along_z, b1 = 1.0 + u.y.along_y, b2 = u.y.along_x;
  const double c0 = u.x.along_z, c1 = u.x.along_y, c2 = 1.0 + u.x.along_x;
  const double p = b1 * c2 - b2 * c1, q = b2 * c0 - b0 * c2, r = b0 * c1 - b1 * c0;
  const double determinant = a0 * p + a1 * q + a2 * r;
  if (!(determinant > least)) return residual;
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

  // Return the solution from a start, or the closest point found.
  Point find(Point x, Point start) const {
    Found found = solve(x, start);
    if (found.error <= enough_ || !(found.error < kInfinity)) return found.y;
    search_around(x, found);
    return found.y;
  }

 private:
  static constexpr double kInfinity = __builtin_inf();
  static constexpr int64_t kReach = 8;  // radius of the search in cells around the closest point

  struct Found {
    Point y;
    double error;  // squared
  };
  struct Index {
    int64_t z, y, x;
  };

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
    for (int64_t radius = 0; radius <= kReach; ++radius) {
      for (int64_t a = -radius; a <= radius; ++a) {
        for (int64_t b = -radius; b <= radius; ++b) {
          const bool side = a == radius || a == -radius || b == radius || b == -radius;
          for (int64_t c = -radius; c <= radius; c += side ? 1 : 2 * radius) {
            if (try_cell(x, {centre.z + a, centre.y + b, centre.x + c}, found)) return;
          }
        }
      }
    }
  }

  static int64_t whole(double x) {
    constexpr double far = 1e15;  // voxels; still exact, and no overflow
    x = x > -far ? x : -far;
    return static_cast<int64_t>(__builtin_floor(x < far ? x : far));
  }

  // Start from the centres of the octants of a cell, then from its own. Return whether the error is small enough.
  bool try_cell(Point x, Index cell, Found& found) const {
    if (!may_hold(x, cell)) return false;
    const Point corner{static_cast<double>(cell.z), static_cast<double>(cell.y), static_cast<double>(cell.x)};
    for (int n = 0; n < 9 && !(found.error <= enough_); ++n) {
      const Point octant{0.25 + 0.5 * (n >> 2), 0.25 + 0.5 * (n >> 1 & 1), 0.25 + 0.5 * (n & 1)};
      const Found other = solve(x, corner + (n == 8 ? Point{0.5, 0.5, 0.5} : octant));
      if (other.error < found.error) found = other;
    }
    return found.error <= enough_;
  }

  // Return whether x is in the bounding box of the images of the eight corners of a cell.
  bool may_hold(Point x, Index cell) const {
    const int64_t first[3] = {cell.z, cell.y, cell.x};
    const double target[3] = {x.z, x.y, x.x};
    for (int c = 0; c < 3; ++c) {
      double low = kInfinity, high = -kInfinity;
      for (int n = 0; n < 8; ++n) {
        const int64_t at[3] = {first[0] + (n >> 2), first[1] + (n >> 1 & 1), first[2] + (n & 1)};
        const double image = static_cast<double>(at[c]) + *u_.at(c, inside(at[0], 1), inside(at[1], 2), inside(at[2], 3));
        low = image < low ? image : low;
        high = image > high ? image : high;
      }
      if (!(low <= target[c] && target[c] <= high)) return false;
    }
    return true;
  }

  int64_t inside(int64_t at, int axis) const { return most(least(at, u_.shape[axis] - 1), 0); }

  ConstField u_;
  int64_t iterations_;
  double enough_;
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
