#include "registration/affine_pyramid.hpp"

#include <algorithm>
#include <cmath>

#include "affine/block_mean.hpp"
#include "fields/window_mean.hpp"
#include "registration/statistics.hpp"

namespace lightcrcf {
namespace {

constexpr double kPi = 3.14159265358979323846;

// Image, tissue and usable voxels of a level.
struct Planes {
  VolumeArray image, inside, usable;
  Matrix4 to_mm;
};

VolumeArray copy_of(const ConstVolume& volume) {
  VolumeArray copy = make_volume(shape_of(volume));
  copy_values(volume.data, volume.size(), copy.data());
  return copy;
}

// Return the distance between neighbouring voxels along each axis.
Vector3 spacing(const Matrix4& to_mm) {
  Vector3 result;
  for (int axis = 0; axis < 3; ++axis) {
    result[axis] = std::sqrt(to_mm(0, axis) * to_mm(0, axis) + to_mm(1, axis) * to_mm(1, axis) +
                             to_mm(2, axis) * to_mm(2, axis));
  }
  return result;
}

// Blocks of voxels that become one voxel.
struct Blocks {
  Shape lengths;

  static Blocks to_spacing(double spacing_mm, const Planes& planes) {
    const Vector3 now = spacing(planes.to_mm);
    Blocks blocks;
    for (int axis = 0; axis < 3; ++axis) {
      const auto ratio = static_cast<int64_t>(std::nearbyint(spacing_mm / now[axis]));
      blocks.lengths[axis] = std::max<int64_t>(1, std::min(planes.image.view().shape[axis], ratio));
    }
    return blocks;
  }

  VolumeArray means(const ConstVolume& volume) const {
    Shape shape;
    for (int axis = 0; axis < 3; ++axis) shape[axis] = (volume.shape[axis] + lengths[axis] - 1) / lengths[axis];
    VolumeArray out = make_volume(shape);
    block_mean(volume, BlockShape{lengths[0], lengths[1], lengths[2]}, out.view());
    return out;
  }

  // Return 1 where at least half of a block is 1, or as much as in the fullest one.
  VolumeArray majority(const ConstVolume& volume) const {
    VolumeArray fraction = means(volume);
    const float fullest = *std::max_element(fraction.data(), fraction.data() + fraction.size());
    const float least = std::min(0.5f, fullest);
    for (int64_t i = 0; i < fraction.size(); ++i) fraction.data()[i] = fraction.data()[i] >= least ? 1.0f : 0.0f;
    return fraction;
  }

  Matrix4 grid(const Matrix4& to_mm) const {
    Matrix4 step = Matrix4::identity();
    for (int axis = 0; axis < 3; ++axis) {
      step(axis, axis) = static_cast<double>(lengths[axis]);
      step(axis, 3) = static_cast<double>(lengths[axis] - 1) / 2.0;
    }
    return to_mm * step;
  }
};

// Return a level. With outlines, samples extend one voxel beyond the tissue; otherwise validity does.
AffineLevel level_of(const Planes& planes, const AffineSource& source) {
  VolumeArray beyond = make_volume(shape_of(planes.inside.view()));
  window_mean(as_field(ConstVolume(planes.inside)), 1, as_field(beyond.view()));
  for (int64_t i = 0; i < beyond.size(); ++i) {
    beyond.data()[i] = (beyond.data()[i] > 1e-6f ? 1.0f : 0.0f) * planes.usable.data()[i];
  }
  AffineLevel level{copy_of(planes.image), copy_of(planes.inside), {}, {}, planes.to_mm, source.edge, source.blank_outside};
  level.samples = source.outline ? std::move(beyond) : copy_of(planes.inside);
  level.valid = source.outline ? copy_of(planes.usable) : std::move(beyond);
  return level;
}

double count_above_zero(const ConstVolume& volume) {
  return sum_of([data = volume.data](int64_t i) { return data[i] > 0.0f ? 1.0 : 0.0; }, volume.size());
}

AffineLevel copy_level(const AffineLevel& level) {
  return {copy_of(level.image), copy_of(level.foreground), copy_of(level.samples), copy_of(level.valid),
          level.to_mm,          level.edge,                level.blank_outside};
}

}  // namespace

double AffineLevel::litres() const { return count_above_zero(foreground) * std::fabs(determinant(to_mm)) * 1e-6; }

Vector3 AffineLevel::centroid_mm() const {
  const ConstVolume volume = foreground;
  double total = 0.0;
  Vector3 sums{};
  for (int64_t i = 0; i < volume.size(); ++i) {
    const double weight = volume.data[i];
    const int64_t row = i / volume.shape[2];
    total += weight;
    sums[0] += weight * static_cast<double>(row / volume.shape[1]);
    sums[1] += weight * static_cast<double>(row % volume.shape[1]);
    sums[2] += weight * static_cast<double>(i % volume.shape[2]);
  }
  for (double& sum : sums) sum /= total;
  return transform_point(to_mm, sums);
}

AffineImage AffineLevel::view() const {
  const ConstVolume weights = samples;
  const double total = sum_of([=](int64_t i) { return static_cast<double>(weights.data[i]); }, weights.size());
  return {image, samples, valid, to_mm, inverse(to_mm), blank_outside, litres(), litres() / std::max(total, 1e-30)};
}

AffineLevel AffineLevel::normalised() const {
  AffineLevel result = copy_level(*this);
  lightcrcf::normalise_locally({image, foreground, samples, valid, edge, blank_outside},
                               {result.image, result.samples, result.valid});
  return result;
}

std::vector<AffineLevel> build_levels(const AffineSource& source) {
  Planes planes{copy_of(source.image), copy_of(source.tissue), copy_of(source.usable), source.to_mm};
  const Vector3 finest = spacing(source.to_mm);
  const double spacing_mm = *std::min_element(finest.begin(), finest.end());
  std::vector<AffineLevel> levels;
  levels.push_back(level_of(planes, source));
  for (double factor : {2.0, 4.0}) {
    const Blocks blocks = Blocks::to_spacing(spacing_mm * factor, planes);
    planes = {blocks.means(planes.image), blocks.majority(planes.inside), blocks.majority(planes.usable),
              blocks.grid(planes.to_mm)};
    levels.push_back(level_of(planes, source));
  }
  std::reverse(levels.begin(), levels.end());
  return levels;
}

PairLevels build_pair_levels(const AffineSource& fixed, const AffineSource& moving) {
  PairLevels result{build_levels(fixed), build_levels(moving)};
  for (std::vector<AffineLevel>* levels : {&result.fixed, &result.moving}) {
    for (size_t n : {1, 2}) levels->push_back((*levels)[n].normalised());
  }
  return result;
}

AffinePyramid PairLevels::views() const {
  const auto level = [this](size_t n) {
    const AffineImage a = fixed[n].view(), b = moving[n].view();
    const double radius_mm = std::cbrt(a.litres * 1e6 * 3.0 / (4.0 * kPi));
    return AffinePairs{{{a, b, b, a, 1.0}}, fixed[n].centroid_mm(), radius_mm};
  };
  return {level(0), level(1), level(2), level(3), level(4)};
}

}  // namespace lightcrcf
