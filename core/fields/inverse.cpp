#include "fields/inverse.hpp"

#include "base/parallel.hpp"
#include "fields/newton.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Call body(n) for all points, in parallel by blocks.
template <typename Body>
void for_points(int64_t count, const Body& body) {
  constexpr int64_t block = 64;
  parallel_for((count + block - 1) / block, [&](int64_t i) {
    for (int64_t n = i * block; n < least((i + 1) * block, count); ++n) body(n);
  });
}

Point point(const double* from) { return {from[0], from[1], from[2]}; }

void put(Point value, double* to) {
  to[0] = value.z;
  to[1] = value.y;
  to[2] = value.x;
}

}  // namespace

void displacement_at(ConstField u, ConstPoints points, Points out) {
  for_points(points.shape[0], [&](int64_t n) {
    const Point at = point(points.at(n));
    const bool inside = is_inside(u[0].shape, at.z, at.y, at.x);
    put(inside ? jet_at(u, at).value() : Point{0, 0, 0}, out.at(n));
  });
}

void invert_at(ConstField u, ConstPoints points, Accuracy accuracy, Points out) {
  const Inverse inverse(u, accuracy);
  for_points(points.shape[0], [&](int64_t n) { put(inverse.find(point(points.at(n)), point(points.at(n))), out.at(n)); });
}

void invert(ConstField u, Accuracy accuracy, Field out) {
  const Inverse inverse(u, accuracy);
  const int64_t voxels = u[0].size();
  parallel_for(out.shape[1], [&](int64_t i) {
    for (int64_t j = 0; j < out.shape[2]; ++j) {
      Point v{0, 0, 0};
      float* to = out.at(0, i, j);
      for (int64_t k = 0; k < out.shape[3]; ++k) {
        // The initial value is the displacement of the previous voxel.
        const Point x{static_cast<double>(i), static_cast<double>(j), static_cast<double>(k)};
        v = inverse.find(x, x + v) - x;
        to[k] = static_cast<float>(v.z);
        to[k + voxels] = static_cast<float>(v.y);
        to[k + 2 * voxels] = static_cast<float>(v.x);
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
