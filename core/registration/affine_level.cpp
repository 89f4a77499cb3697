#include "registration/affine_level.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "fields/window_mean.hpp"
#include "registration/statistics.hpp"
#include "sampling/resample.hpp"

namespace lightcrcf {
namespace {

// Radius of the local normalisation in voxels, and the epsilon of its standard deviation, as a fraction of the range.
constexpr int64_t kWindow = 2;
constexpr double kEpsilon = 0.05;
// Least fraction of samples that must remain without those whose windows reach unknown voxels, and without the edge.
constexpr double kLeastSamples = 0.5, kLeastCore = 0.3;
// Radius of the local agreement in voxels, and the least weight.
constexpr int64_t kAgreementWindow = 4;
constexpr float kLeastAgreement = 0.05f;
constexpr float kWhole = 0.999f;  // from this mean on a window is full

VolumeArray box_mean(const ConstVolume& volume, int64_t radius) {
  VolumeArray out = make_volume(shape_of(volume));
  window_mean(as_field(volume), radius, as_field(out.view()));
  return out;
}

// Return value(i) at each voxel.
template <typename Value>
VolumeArray volume_of(const Shape& shape, const Value& value) {
  VolumeArray out = make_volume(shape);
  float* const to = out.data();
  for_parts(out.size(), [to, &value](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) to[i] = value(i);
  });
  return out;
}

double sum(const ConstVolume& volume) {
  return sum_of([data = volume.data](int64_t i) { return static_cast<double>(data[i]); }, volume.size());
}

// Return the image, smoothed, minus its mean over windows of valid voxels; 0 where it is not valid.
VolumeArray offset_from_mean(const LevelView& level, const float* fraction) {
  const Shape shape = shape_of(level.image);
  const VolumeArray smooth = box_mean(level.image, 1), ones = box_mean(volume_of(shape, [](int64_t) { return 1.0f; }), 1);
  const float *valid = level.valid.data, *whole = ones.data();
  float* const mean = smooth.data();
  const VolumeArray weighted = volume_of(shape, [=](int64_t i) { return (mean[i] /= whole[i]) * valid[i]; });
  const VolumeArray local = box_mean(weighted, kWindow);
  const float* const around = local.data();
  return volume_of(shape, [=](int64_t i) { return (mean[i] - around[i] / fraction[i]) * valid[i]; });
}

// out = the foreground without its edge, or all of it if little remained, times the samples.
void exclude_edge(const LevelView& level, const Volume& out) {
  const VolumeArray means = box_mean(level.foreground, level.edge);
  const float *mean = means.data(), *samples = level.samples.data;
  const double core = sum_of([mean](int64_t i) { return mean[i] > kWhole ? 1.0 : 0.0; }, out.size());
  const bool enough = core >= kLeastCore * sum(level.foreground);
  for (int64_t i = 0; i < out.size(); ++i) {
    out.data[i] = (enough ? (mean[i] > kWhole ? 1.0f : 0.0f) : level.foreground.data[i]) * samples[i];
  }
}

// Exclude samples whose windows reach unknown voxels, if enough remain.
void exclude_unknown(const float* fraction, const NormalisedLevel& out) {
  float *const samples = out.samples.data, *const valid = out.valid.data;
  const auto whole = [fraction](int64_t i) { return fraction[i] > kWhole ? 1.0f : 0.0f; };
  const double kept = sum_of([=](int64_t i) { return static_cast<double>(whole(i) * samples[i]); }, out.samples.size());
  if (!(kept > kLeastSamples * sum(out.samples))) return;
  for (int64_t i = 0; i < out.samples.size(); ++i) {
    samples[i] *= whole(i);
    valid[i] *= whole(i);
  }
}

}  // namespace

void normalise_locally(const LevelView& level, const NormalisedLevel& out) {
  const Shape shape = shape_of(level.image);
  const VolumeArray fractions = box_mean(level.valid, kWindow);
  float* const fraction = fractions.data();
  for (int64_t i = 0; i < fractions.size(); ++i) fraction[i] = std::max(fraction[i], 1e-4f);
  const VolumeArray offsets = offset_from_mean(level, fraction);
  const float* const offset = offsets.data();
  const VolumeArray squares = box_mean(volume_of(shape, [=](int64_t i) { return offset[i] * offset[i]; }), kWindow);
  const float* const square = squares.data();
  constexpr float epsilon = static_cast<float>(kEpsilon * kEpsilon);
  for (int64_t i = 0; i < squares.size(); ++i) {
    out.image.data[i] = offset[i] / std::sqrt(std::max(square[i], 0.0f) / fraction[i] + epsilon);
  }
  exclude_edge(level, out.samples);
  copy_values(level.valid.data, level.valid.size(), out.valid.data);
  if (!level.blank_outside) exclude_unknown(fraction, out);
}

void weight_by_agreement(const ConstVolume& image, const ConstVolume& samples, const ConstVolume& other,
                         const double* matrix, const Volume& out) {
  const Shape shape = shape_of(image);
  const VolumeArray moved = make_volume(shape);
  Mapping mapping{};
  std::copy_n(matrix, std::size(mapping.matrix), mapping.matrix);
  resample_linear(other, mapping, 0.0f, moved.view());
  const float *a = image.data, *b = moved.data(), *s = samples.data;
  const auto product = [&shape, s](const float* x, const float* y) {
    return box_mean(volume_of(shape, [=](int64_t i) { return (x[i] * s[i]) * (y[i] * s[i]); }), kAgreementWindow);
  };
  const VolumeArray products = product(a, b), powers = product(a, a), other_powers = product(b, b);
  for (int64_t i = 0; i < out.size(); ++i) {
    const float power = std::max(powers.data()[i] * other_powers.data()[i], 1e-6f);
    out.data[i] = std::clamp(products.data()[i] / std::sqrt(power), kLeastAgreement, 1.0f) * s[i];
  }
}

namespace {

// Weight the samples of one image.
void weight(AffineImage& reference, const AffineImage& other, const Matrix4& matrix, std::vector<VolumeArray>& owner) {
  VolumeArray samples = make_volume(shape_of(reference.image));
  const Matrix4 index = other.to_voxels * matrix * reference.to_mm;
  weight_by_agreement(reference.image, reference.samples, other.image, index.values.data(), samples.view());
  reference.samples = samples;
  reference.litres_per_weight = reference.litres / std::max(sum(samples), 1e-30);
  owner.push_back(std::move(samples));
}

}  // namespace

WeightedPairs weight_by_agreement(const AffinePairs& all, const Matrix4& matrix) {
  WeightedPairs result{all, {}};
  const Matrix4 backwards = inverse(matrix);
  for (AffinePair& pair : result.pairs.pairs) {
    weight(pair.fixed, pair.read_by_fixed, matrix, result.samples);
    weight(pair.moving, pair.read_by_moving, backwards, result.samples);
  }
  return result;
}

}  // namespace lightcrcf
