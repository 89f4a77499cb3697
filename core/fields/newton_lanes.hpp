// Inversion of a displacement field at several points at once, one to a lane of vectors of float64. For kernel files
// only: see base/dispatch.hpp.
//
// A lane that has finished takes the next point while the others go on, so that none waits for another.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/simd.hpp"
#include "fields/newton.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

typedef DoubleVector Doubles;
typedef int64_t Longs __attribute__((vector_size(lanes * 4)));
typedef int32_t Ints __attribute__((vector_size(lanes * 2)));
typedef float HalfFloats __attribute__((vector_size(lanes * 2)));

// `Between`, `Cell` and `Sample` of several points; low[lane] is the voxel below.
struct BetweenLanes {
  Ints low;
  Doubles fraction, free;
};

[[gnu::always_inline]] inline BetweenLanes between(Doubles x, int64_t n) {
  const Doubles zero{}, one = zero + 1.0, last = zero + static_cast<double>(n - 1);
  Doubles inside = x > zero ? x : zero;
  inside = inside < last ? inside : last;
  const Ints top = Ints{} + static_cast<int32_t>(most(n - 2, 0));
  Ints low = __builtin_convertvector(inside, Ints);
  low = low < top ? low : top;
  return {low, inside - __builtin_convertvector(low, Doubles), ((x > zero) & (x < last)) ? one : zero};
}

struct SampleLanes {
  Doubles value, along_z, along_y, along_x;
};

// A voxel and the next one along the last axis.
struct Ends {
  Doubles left, right;
};

[[gnu::always_inline]] inline Ends ends_at(const float* from, const int32_t* corner, int64_t right) {
  HalfFloats left_values, right_values;
  for (int lane = 0; lane < double_lanes; ++lane) {
    left_values[lane] = from[corner[lane]];
    right_values[lane] = from[corner[lane] + right];
  }
  return {__builtin_convertvector(left_values, Doubles), __builtin_convertvector(right_values, Doubles)};
}

struct CellLanes {
  BetweenLanes z, y, x;
  int32_t corner[double_lanes];
  Offsets next;
};

[[gnu::always_inline]] inline SampleLanes sample_cells(const float* volume, const CellLanes& cells) {
  const Doubles a = cells.z.fraction, b = cells.y.fraction, c = cells.x.fraction;
  const Offsets& next = cells.next;
  const Ends e00 = ends_at(volume, cells.corner, next.right);
  const Ends e01 = ends_at(volume + next.down, cells.corner, next.right);
  const Ends e10 = ends_at(volume + next.back, cells.corner, next.right);
  const Ends e11 = ends_at(volume + next.back + next.down, cells.corner, next.right);
  const Doubles d00 = e00.right - e00.left, d01 = e01.right - e01.left, d10 = e10.right - e10.left,
                d11 = e11.right - e11.left;
  const Doubles v00 = e00.left + c * d00, v01 = e01.left + c * d01, v10 = e10.left + c * d10, v11 = e11.left + c * d11;
  const Doubles d0 = d00 + b * (d01 - d00), d1 = d10 + b * (d11 - d10);
  const Doubles v0 = v00 + b * (v01 - v00), v1 = v10 + b * (v11 - v10);
  return {v0 + a * (v1 - v0), cells.z.free * (v1 - v0), cells.y.free * ((v01 - v00) + a * ((v11 - v10) - (v01 - v00))),
          cells.x.free * (d0 + a * (d1 - d0))};
}

struct PointLanes {
  Doubles z, y, x;
};

// `newton_step` of several points.
[[gnu::always_inline]] inline PointLanes newton_step(const SampleLanes (&u)[3], const PointLanes& residual) {
  const Doubles a0 = 1.0 + u[0].along_z, a1 = u[0].along_y, a2 = u[0].along_x;
  const Doubles b0 = u[1].along_z, b1 = 1.0 + u[1].along_y, b2 = u[1].along_x;
  const Doubles c0 = u[2].along_z, c1 = u[2].along_y, c2 = 1.0 + u[2].along_x;
  const Doubles p = b1 * c2 - b2 * c1, q = b2 * c0 - b0 * c2, r = b0 * c1 - b1 * c0;
  const Doubles determinant = a0 * p + a1 * q + a2 * r, scale = 1.0 / determinant;
  const Doubles z = residual.z, y = residual.y, x = residual.x;
  const Longs regular = determinant > Doubles{} + kMinDeterminant;
  return {regular ? scale * (p * z + (a2 * c1 - a1 * c2) * y + (a1 * b2 - a2 * b1) * x) : z,
          regular ? scale * (q * z + (a0 * c2 - a2 * c0) * y + (a2 * b0 - a0 * b2) * x) : y,
          regular ? scale * (r * z + (a1 * c0 - a0 * c1) * y + (a0 * b1 - a1 * b0) * x) : x};
}

// One number for each lane, in memory.
struct alignas(64) Row {
  double lane[double_lanes];

  [[gnu::always_inline]] Doubles load() const {
    Doubles values;
    std::memcpy(&values, lane, sizeof values);
    return values;
  }
  [[gnu::always_inline]] void store(Doubles values) { std::memcpy(lane, &values, sizeof values); }
};

// The search of `Inverse::solve` for the points of a source, which has
//   bool next(int lane, Point& x, Point& start)   the next point of a lane, if there is one
//   void put(int lane, Point y)                   its solution
class InverseLanes {
 public:
  explicit InverseLanes(const Inverse& inverse) : inverse_(inverse) {}

  template <typename Source>
  void solve(Source& source) {
    int active = 0;
    for (int lane = 0; lane < double_lanes; ++lane) active += busy_[lane] = begin(source, lane);
    while (active > 0) {
      advance();
      for (int lane = 0; lane < double_lanes; ++lane) {
        if (finished_.lane[lane] == 0.0 || !busy_[lane]) continue;
        source.put(lane, inverse_.complete(point(x_, lane), {point(best_, lane), error_.lane[lane]}));
        busy_[lane] = begin(source, lane);
        active -= !busy_[lane];
      }
    }
  }

 private:
  template <typename Source>
  bool begin(Source& source, int lane) {
    Point x, start;
    if (!source.next(lane, x, start)) return false;
    put(x, x_, lane);
    put(start, best_, lane);
    put(start, trial_, lane);
    error_.lane[lane] = __builtin_inf();
    length_.lane[lane] = 1.0;
    steps_.lane[lane] = 0.0;
    return true;
  }

  // One step of all lanes.
  void advance() {
    SampleLanes u[3];
    const PointLanes trial = load(trial_), x = load(x_);
    sample(trial, u);
    const PointLanes miss{trial.z + u[0].value - x.z, trial.y + u[1].value - x.y, trial.x + u[2].value - x.x};
    const Doubles error = miss.z * miss.z + miss.y * miss.y + miss.x * miss.x;
    const Longs closer = error < error_.load();
    const Doubles length = closer ? 2.0 * length_.load() : 0.5 * length_.load();
    const PointLanes best = select(closer, trial, load(best_)), residual = select(closer, miss, load(residual_));
    error_.store(closer ? error : error_.load());
    length_.store(length < Doubles{} + 1.0 ? length : Doubles{} + 1.0);
    store(best, best_);
    store(residual, residual_);
    const PointLanes step = select(closer, newton_step(u, residual), residual);
    const Doubles by = length_.load();
    store({best.z - by * step.z, best.y - by * step.y, best.x - by * step.x}, trial_);
    finish();
  }

  void sample(const PointLanes& at, SampleLanes (&u)[3]) const {
    const ConstField& field = inverse_.field();
    const ConstVolume grid = field[0];
    CellLanes cells{between(at.z, grid.shape[0]), between(at.y, grid.shape[1]), between(at.x, grid.shape[2]), {},
                    Offsets(grid.shape)};
    const Ints corner = (cells.z.low * static_cast<int32_t>(grid.shape[1]) + cells.y.low) *
                            static_cast<int32_t>(grid.shape[2]) + cells.x.low;
    std::memcpy(cells.corner, &corner, sizeof corner);
    for (int c = 0; c < 3; ++c) u[c] = sample_cells(field.at(c), cells);
  }

  // Count the steps, and find which lanes have finished.
  void finish() {
    const Doubles steps = steps_.load() + 1.0, zero{};
    const Longs ended = (error_.load() <= zero + inverse_.enough()) | (steps > zero + inverse_.iterations());
    steps_.store(steps);
    finished_.store(ended ? zero + 1.0 : zero);
  }

  static Point point(const Row (&rows)[3], int lane) { return {rows[0].lane[lane], rows[1].lane[lane], rows[2].lane[lane]}; }
  static void put(Point value, Row (&rows)[3], int lane) {
    rows[0].lane[lane] = value.z;
    rows[1].lane[lane] = value.y;
    rows[2].lane[lane] = value.x;
  }
  static PointLanes load(const Row (&rows)[3]) { return {rows[0].load(), rows[1].load(), rows[2].load()}; }
  static void store(const PointLanes& values, Row (&rows)[3]) {
    rows[0].store(values.z);
    rows[1].store(values.y);
    rows[2].store(values.x);
  }
  static PointLanes select(Longs yes, const PointLanes& a, const PointLanes& b) {
    return {yes ? a.z : b.z, yes ? a.y : b.y, yes ? a.x : b.x};
  }

  const Inverse& inverse_;
  Row x_[3]{}, best_[3]{}, trial_[3]{}, residual_[3]{}, error_{}, length_{}, steps_{}, finished_{};
  bool busy_[double_lanes]{};
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
