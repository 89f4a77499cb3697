#include "python/registration_rows.hpp"

#include <cmath>

namespace lightcrcf::python {
namespace {

constexpr double kLargest = 1e30, kLargestSigma = 1000.0;
constexpr int64_t kLargestRadius = 1 << 16;

void require_number(double value) { require(std::abs(value) <= kLargest, "a number is not finite, or too large"); }

void require_sigma(double sigma) {
  require(sigma >= 0 && sigma <= kLargestSigma, "a Gaussian is negative or too wide");
}

ConstVolume mask_of(const std::optional<HeldVolume>& mask) { return mask ? mask->view : ConstVolume{nullptr, {}}; }

ImageNoise noise_of(const NoiseRow& row) {
  const auto [variance, size, unit] = row;
  for (double value : {variance, size, unit}) require_number(value);
  return {variance, size, unit};
}

Images pair_of(const PairRow& row) {
  const auto& [fixed, moving, fixed_mask, moving_mask, noise, masked, share] = row;
  require_number(share);
  std::optional<Noise> known;
  if (noise) known = Noise{noise_of(std::get<0>(*noise)), noise_of(std::get<1>(*noise))};
  return {fixed.view, moving.view, mask_of(fixed_mask), mask_of(moving_mask), known,
          {std::get<0>(masked), std::get<1>(masked)}, share};
}

Metric metric_of(const std::string& name) {
  if (name == "lncc") return Metric::lncc;
  if (name == "mse") return Metric::mse;
  require(name == "explained", "a metric is lncc, mse or explained");
  return Metric::explained;
}

Measure measure_of(const MeasureRow& row) {
  const auto& [name, radius, contrast, sigma] = row;
  const Metric metric = metric_of(name);
  require(radius >= 0 && radius <= kLargestRadius, "a radius is negative or too large");
  require_number(contrast);
  require_sigma(sigma);
  require(contrast >= 0, "the weight of contrast is negative");
  require(contrast == 0 || metric != Metric::mse, "local contrast is compared by lncc, not by mse");
  return {metric, radius, contrast, sigma};
}

CandidateKind candidate_of(const CandidateRow& row) {
  const auto [backward, force_sigma, field_sigma] = row;
  require_sigma(force_sigma);
  require_sigma(field_sigma);
  return {backward, force_sigma, field_sigma};
}

}  // namespace

std::vector<Images> images_of(const std::vector<PairRow>& rows) {
  require(!rows.empty(), "a registration needs a pair of images");
  std::vector<Images> pairs;
  for (const PairRow& row : rows) pairs.push_back(pair_of(row));
  const ConstVolume& first = pairs[0].fixed;
  require_indexable(first);
  for (const Images& pair : pairs) {
    for (const ConstVolume& each : {pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask}) {
      if (each.data != nullptr) require_same_grid(first, each);
    }
  }
  return pairs;
}

Level level_of(const LevelRow& row, size_t pairs) {
  const auto& [scale, image_scale, steps, step, momentum, force, volume, background, ratio, candidates, measures] = row;
  require(scale == 1 || scale == 2 || scale == 4 || scale == 8, "a scale is 1, 2, 4 or 8");
  require(image_scale == scale || 2 * image_scale == scale, "images have the scale of the field, or half of it");
  require(image_scale == scale || candidates.size() == 1, "where images are finer than the field there is one candidate");
  require(steps >= 0, "the number of steps is negative");
  require(step > 0 && step <= 1, "a step is at most one voxel long");
  for (double value : {momentum, force, volume, background, ratio}) require_number(value);
  require(!candidates.empty() && static_cast<int64_t>(candidates.size()) <= kMostCandidates,
          "a level has 1 to 8 candidates");
  require(!std::get<0>(candidates[0]), "the first candidate is the forward one");
  require(measures.size() == pairs, "a level has a measure for each pair");
  Level level{scale, image_scale, steps, step, momentum, force, volume, background, ratio, {}, {}};
  for (const CandidateRow& candidate : candidates) level.candidates.push_back(candidate_of(candidate));
  for (const MeasureRow& measure : measures) level.measures.push_back(measure_of(measure));
  return level;
}

void require_pool(const Pool& pool) {
  for (int64_t factor : pool) require(factor == 1 || factor == 2, "factors are 1 or 2");
}

void require_displacement_on(const ConstField& field, const Shape& shape) {
  require(field.shape[0] == 3, "a displacement needs three channels");
  require(shape_of(field) == shape, "a displacement has the wrong shape");
}

}  // namespace lightcrcf::python
