#include "fields/inverse.hpp"

#include "base/parallel.hpp"
#include "fields/newton_lanes.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int64_t kPoints = 256;  // that a thread takes at a time

Point point(const double* from) { return {from[0], from[1], from[2]}; }

void store(Point value, double* to) {
  to[0] = value.z;
  to[1] = value.y;
  to[2] = value.x;
}

// The points first, first + 1, ..., last - 1 of an array, each from itself.
class GivenPoints {
 public:
  GivenPoints(ConstPoints points, Points out, int64_t first, int64_t last)
      : points_(points), out_(out), next_(first), last_(last) {}

  bool next(int lane, Point& x, Point& start) {
    if (next_ == last_) return false;
    at_[lane] = next_++;
    x = start = point(points_.at(at_[lane]));
    return true;
  }
  void put(int lane, Point y) { store(y, out_.at(at_[lane])); }

 private:
  ConstPoints points_;
  Points out_;
  int64_t next_, last_, at_[double_lanes];
};

// The voxels of a plane: each lane goes along one row after another, and starts from the solution of the previous voxel.
class PlaneOfVoxels {
 public:
  PlaneOfVoxels(Field out, int64_t i) : out_(out), i_(i) {
    for (Voxel& voxel : at_) voxel = {0, out.shape[3] - 1, {0, 0, 0}};
  }

  bool next(int lane, Point& x, Point& start) {
    Voxel& at = at_[lane];
    if (++at.k == out_.shape[3]) {
      if (next_row_ == out_.shape[2]) return false;
      at = {next_row_++, 0, {0, 0, 0}};
    }
    x = position(at);
    start = x + at.v;
    return true;
  }
  void put(int lane, Point y) {
    Voxel& at = at_[lane];
    at.v = y - position(at);
    *out_.at(0, i_, at.j, at.k) = static_cast<float>(at.v.z);
    *out_.at(1, i_, at.j, at.k) = static_cast<float>(at.v.y);
    *out_.at(2, i_, at.j, at.k) = static_cast<float>(at.v.x);
  }

 private:
  struct Voxel {
    int64_t j, k;
    Point v;  // the solution
  };
  Point position(const Voxel& at) const {
    return {static_cast<double>(i_), static_cast<double>(at.j), static_cast<double>(at.k)};
  }

  Field out_;
  int64_t i_, next_row_ = 0;
  Voxel at_[double_lanes];
};

}  // namespace

void displacement_at(ConstField u, ConstPoints points, Points out) {
  const int64_t count = points.shape[0];
  parallel_for((count + kPoints - 1) / kPoints, [&](int64_t block) {
    for (int64_t n = block * kPoints; n < least((block + 1) * kPoints, count); ++n) {
      const Point at = point(points.at(n));
      const bool inside = is_inside(u[0].shape, at.z, at.y, at.x);
      store(inside ? jet_at(u, at).value() : Point{0, 0, 0}, out.at(n));
    }
  });
}

void invert_at(ConstField u, ConstPoints points, Accuracy accuracy, Points out) {
  const Inverse inverse(u, accuracy);
  const int64_t count = points.shape[0];
  parallel_for((count + kPoints - 1) / kPoints, [&](int64_t block) {
    GivenPoints source(points, out, block * kPoints, least((block + 1) * kPoints, count));
    InverseLanes(inverse).solve(source);
  });
}

void invert(ConstField u, Accuracy accuracy, Field out) {
  const Inverse inverse(u, accuracy);
  parallel_for(out.shape[1], [&](int64_t i) {
    PlaneOfVoxels source(out, i);
    InverseLanes(inverse).solve(source);
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
