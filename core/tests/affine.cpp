// Affine alignment from two images to a matrix, and its parts.
#include <cmath>

#include "base/parallel.hpp"
#include "check.hpp"
#include "registration/affine_pyramid.hpp"
#include "registration/affine_starts.hpp"

namespace lightcrcf::tests {
namespace {

bool near(const Matrix4& a, const Matrix4& b, double tolerance) {
  for (size_t n = 0; n < 16; ++n) {
    if (!(std::abs(a.values[n] - b.values[n]) <= tolerance)) return false;
  }
  return true;
}

// Return a blob with three lobes about a point.
VolumeArray blob(const Shape& shape, const Vector3& centre) {
  VolumeArray image = make_volume(shape);
  float* to = image.data();
  for (int64_t z = 0; z < shape[0]; ++z) {
    for (int64_t y = 0; y < shape[1]; ++y) {
      for (int64_t x = 0; x < shape[2]; ++x) {
        const double a = static_cast<double>(z) - centre[0], b = static_cast<double>(y) - centre[1],
                     c = static_cast<double>(x) - centre[2];
        const double inside = 1.0 - (a * a / 60.0 + b * b / 90.0 + c * c / 40.0);
        *to++ = inside > 0.0 ? static_cast<float>(0.6 + 0.3 * std::sin(0.9 * a) * std::cos(0.7 * b + 0.5 * c)) : 0.0f;
      }
    }
  }
  return image;
}

// Find the affine between two blobs, one of which lies elsewhere.
FoundAffine aligned(const Shape& shape, const Vector3& shift, int threads) {
  set_thread_count(threads);
  const Vector3 centre{static_cast<double>(shape[0]) / 2, static_cast<double>(shape[1]) / 2,
                       static_cast<double>(shape[2]) / 2};
  const VolumeArray fixed = blob(shape, centre);
  const VolumeArray moving = blob(shape, {centre[0] + shift[0], centre[1] + shift[1], centre[2] + shift[2]});
  const auto source = [&shape](const VolumeArray& image) {
    VolumeArray tissue = make_volume(shape), usable = make_volume(shape);
    for (int64_t i = 0; i < image.size(); ++i) tissue.data()[i] = image.data()[i] > 0.0f ? 1.0f : 0.0f;
    fill_values(1.0f, usable.size(), usable.data());
    return std::array<VolumeArray, 2>{std::move(tissue), std::move(usable)};
  };
  const auto a = source(fixed), b = source(moving);
  const Matrix4 grid = Matrix4::identity();
  const AffineSource from{fixed, a[0], a[1], grid, true, 1, true}, to{moving, b[0], b[1], grid, true, 1, true};
  const PairLevels levels = build_pair_levels(from, to);
  const auto starts = affine_starts(levels.fixed[0].centroid_mm(), levels.moving[0].centroid_mm(), true);
  const FoundAffine found = search_affine(levels.views(), starts, 6);
  set_thread_count(0);
  return found;
}

void check_search() {
  const Shape shape{27, 31, 24};
  const FoundAffine one = aligned(shape, {1.3, -2.1, 0.8}, 1), several = aligned(shape, {1.3, -2.1, 0.8}, 3);
  CHECK(one.fit.matrix.values == several.fit.matrix.values && one.similarity == several.similarity);
  Matrix4 wanted = Matrix4::identity();
  wanted(0, 3) = 1.3, wanted(1, 3) = -2.1, wanted(2, 3) = 0.8;
  const Vector3 centre = {13.5, 15.5, 12.0}, found = transform_point(one.fit.matrix, centre);
  const Vector3 expected = transform_point(wanted, centre);
  for (int axis = 0; axis < 3; ++axis) CHECK(std::abs(found[axis] - expected[axis]) < 0.5);
  aligned({1, 1, 1}, {0, 0, 0}, 1);
  aligned({1, 9, 5}, {0, 1, 0}, 3);
}

void check_matrices() {
  const std::vector<Matrix4> turns = rotations();
  CHECK(turns.size() == 96 && near(turns[0], Matrix4::identity(), 0.0));
  for (const Matrix4& turn : turns) CHECK(near(turn * inverse(turn), Matrix4::identity(), 1e-12));
  const std::vector<Matrix4> basis = affine_generators({12.0, -7.0, 30.0}, 50.0);
  for (const Matrix4& generator : basis) {
    CHECK(near(exponential(40.0 * generator) * exponential(-40.0 * generator), Matrix4::identity(), 1e-9));
  }
  const double symmetric[3][3] = {{2, 1, 0}, {1, 2, 0}, {0, 0, 5}};
  const Eigen3 eigen = symmetric_eigen(symmetric);
  CHECK(std::abs(eigen.values[0] - 1) < 1e-12 && std::abs(eigen.values[1] - 3) < 1e-12 && eigen.values[2] == 5);
  const std::vector<double> solution = solve({0, 2, 1, 1}, {4, 5});
  CHECK(solution[0] == 3.0 && solution[1] == 2.0);
}

}  // namespace
}  // namespace lightcrcf::tests

int main() {
  lightcrcf::tests::check_matrices();
  lightcrcf::tests::check_search();
}
