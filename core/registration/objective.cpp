#include "registration/objective.hpp"

#include <numeric>

#include "refinement/step.hpp"
#include "registration/local_similarity.hpp"
#include "registration/statistics.hpp"
#include "sampling/warp.hpp"

namespace lightcrcf {
namespace {

constexpr float kForeground = 0.05f;
constexpr int64_t kSampled = 3;     // every third voxel of the field along each axis
constexpr double kMinUnit = 1e-12;  // of a force; less is of images that show nothing

// Call body(voxel) for the flat index of each sampled voxel, in order.
template <typename Body>
void for_sampled(const Shape& shape, const Pool& stride, const Body& body) {
  for (int64_t i = 0; i < shape[0]; i += stride[0]) {
    for (int64_t j = 0; j < shape[1]; j += stride[1]) {
      const int64_t row = (i * shape[1] + j) * shape[2];
      for (int64_t k = 0; k < shape[2]; k += stride[2]) body(row + k);
    }
  }
}

Sample sample_foreground(const ConstVolume& image, const Pool& stride) {
  Sample sample;
  for_sampled(shape_of(image), stride, [&](int64_t n) { sample.counts.push_back(image.data[n] > kForeground); });
  return sample;
}

// Return the voxels of images between two sampled voxels of the field.
Pool stride_of(const Level& level, const Pool& pool) {
  Pool stride = level.image_scale < level.scale ? pool : Pool{1, 1, 1};
  for (int64_t& each : stride) each *= kSampled;
  return stride;
}

// Return the sum of squares of np.gradient along one axis: central differences, one-sided ones at the borders.
double squared_gradient(const ConstVolume& image, int axis) {
  const int64_t size = image.shape[axis];
  if (size < 2) return 0.0;
  int64_t stride = 1;
  for (int other = axis + 1; other < 3; ++other) stride *= image.shape[other];
  const float* values = image.data;
  return sum_of(
      [=](int64_t n) {
        const int64_t place = n / stride % size;
        const float before = values[place > 0 ? n - stride : n], after = values[place + 1 < size ? n + stride : n];
        const float slope = place > 0 && place + 1 < size ? (after - before) / 2.0f : after - before;
        return static_cast<double>(slope * slope);
      },
      image.size());
}

// Return the weighted mean of the squared differences.
double mean_square(const ConstVolume& fixed, const ConstVolume& moved, const ConstVolume& weight) {
  const float *f = fixed.data, *m = moved.data, *w = weight.data;
  const auto square = [=](int64_t n) { return (f[n] - m[n]) * (f[n] - m[n]); };
  const int64_t size = fixed.size();
  if (w == nullptr) {
    const double sum = sum_of([=](int64_t n) { return static_cast<double>(square(n)); }, size);
    return sum / static_cast<double>(size);
  }
  const double sum = sum_of([=](int64_t n) { return static_cast<double>(square(n) * w[n]); }, size);
  return sum / std::max(sum_of([=](int64_t n) { return static_cast<double>(w[n]); }, size), 1.0);
}

double voxels_of(const Pool& blocks) { return static_cast<double>(blocks[0] * blocks[1] * blocks[2]); }

}  // namespace

int64_t Sample::count() const { return std::count(counts.begin(), counts.end(), uint8_t{1}); }

PairObjective::PairObjective(const Images& images, const Level& level, const Measure& measure, const Pool& pool,
                             const Watch& watch)
    : watch_(watch), measure_(measure), share_(images.share), stride_(stride_of(level, pool)) {
  const Pool blocks = factors(level.image_scale, pool);
  auto [fixed, moving] = scale_images(images, blocks, level.background);
  fixed_mask_ = std::move(fixed.weight), moving_mask_ = std::move(moving.weight);
  if (moving_mask_) moved_mask_ = make_volume(shape_of(moving_mask_.view()));
  const ConstVolume seen = fixed.image;
  terms_ = make_field(measure.metric == Metric::explained ? 4 : 3, shape_of(seen));
  sample_ = valid_sample_ = sample_foreground(seen, stride_);
  foreground_ = std::max<int64_t>(std::count_if(seen.data, seen.data + seen.size(), [](float v) { return v > kForeground; }), 1);
  if (measure.metric == Metric::mse) {
    for (int axis = 0; axis < 3; ++axis) mean_squared_gradient_ += squared_gradient(seen, axis);
    mean_squared_gradient_ /= static_cast<double>(foreground_);
  }
  noise_ = images.noise ? images.noise->at(voxels_of(blocks)) : 0.0;
  add_channels(std::move(fixed.image), std::move(moving.image), images, voxels_of(blocks));
}

void PairObjective::add_channels(Image fixed, Image moving, const Images& images, double voxels) {
  std::array<VolumeArray, 2> contrasts;
  if (measure_.contrast > 0) {
    contrasts = local_deviations({fixed.view(), moving.view()}, {fixed_mask_.view(), moving_mask_.view()},
                                 measure_.contrast_sigma);
  }
  if (measure_.metric == Metric::explained) {
    const auto noise = images.noise ? images.noise->each_at(voxels) : std::array<double, 2>{0.0, 0.0};
    channels_.push_back(
        std::make_unique<ExplainedVarianceChannel>(std::move(fixed), std::move(moving), 1.0, terms_, noise));
  } else {
    channels_.push_back(std::make_unique<CorrelationChannel>(std::move(fixed), std::move(moving), 1.0, terms_, noise_));
  }
  if (measure_.contrast > 0) {  // which has little noise
    contrast_terms_ = make_field(3, shape_of(terms_.view()));
    channels_.push_back(std::make_unique<CorrelationChannel>(std::move(contrasts[0]), std::move(contrasts[1]),
                                                             measure_.contrast, contrast_terms_, 0.0));
  }
}

double PairObjective::evaluate(const ConstField& field) {
  for (const auto& channel : channels_) {
    channel->move(field);
    watch_.after("warp");
  }
  update_weight(field);
  // Of the sample only what both images show: where one ends there is no force, which must not count as a weak one.
  valid_sample_ = valid(sample_);
  if (measure_.metric == Metric::mse) {
    attained_ = -mean_square(images().fixed(), images().moved(), weight_);
    watch_.after("compare");
    return attained_;
  }
  double mean = 0.0, attained = 0.0, shares = 0.0;
  for (const auto& channel : channels_) {
    const Similarity found = channel->compare(weight_, measure_.radius);
    watch_.after("compare");
    mean += channel->share() * found.mean;
    attained += channel->share() * found.attained;
    shares += channel->share();
  }
  attained_ = attained / shares;
  return mean / shares;
}

// Compute the product of both masks.
void PairObjective::update_weight(const ConstField& field) {
  if (!moving_mask_) {
    weight_ = fixed_mask_;
    return;
  }
  const Volume moved = moved_mask_;
  if (field.data == nullptr) {
    copy_values(moving_mask_.data(), moved.size(), moved.data);
  } else {
    lightcrcf::warp(as_field(moving_mask_.view()), field, as_field(moved));
    watch_.after("warp");
  }
  weight_ = moved;
  const float* fixed = fixed_mask_.data();
  if (fixed == nullptr) return;
  for_parts(moved.size(), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) moved.data[n] *= fixed[n];
  });
}

Sample PairObjective::valid(const Sample& sample) const {
  Sample found = sample;
  if (weight_.data == nullptr) return found;
  size_t at = 0;
  for_sampled(shape_of(weight_), stride_, [&](int64_t n) { found.counts[at++] &= weight_.data[n] > 0.0f; });
  return found;
}

void PairObjective::force(const Field& out) {
  const Field scratch = first_channels(terms_, 3);
  int64_t radius = measure_.radius;
  if (measure_.metric == Metric::mse) {  // the force of the correlation with these terms is that of squared differences
    const int64_t size = scratch[0].size();
    radius = 0;
    for (int c = 0; c < 3; ++c) fill_values(c == 0 ? 1.0f : c == 1 ? -1.0f : 0.0f, size, scratch[c].data);
  }
  channels_[0]->force(weight_, radius, out);
  watch_.after("force");
  for (size_t n = 1; n < channels_.size(); ++n) {
    const Channel& channel = *channels_[n];
    channel.force(weight_, radius, scratch);
    watch_.after("force");
    const double scale = channel.share() * channels_[0]->weights() / channel.weights();
    lightcrcf::accumulate(out, 1.0f, scratch, static_cast<float>(scale));
    watch_.after("add");
  }
}

double PairObjective::force_unit() const {
  if (measure_.metric == Metric::mse) return mean_squared_gradient_;
  const double sampled = static_cast<double>(std::max<int64_t>(sample_.count(), 1));
  const double shown = static_cast<double>(valid_sample_.count()) / sampled;
  return channels_[0]->weights() / std::max(static_cast<double>(foreground_) * shown, 1.0);
}

void PairObjective::local_similarity(const ConstVolume& moved, const Volume& out) const {
  const ConstVolume fixed = channels_[0]->fixed();
  if (measure_.metric == Metric::explained) {
    locally_explained(fixed, moved, measure_.radius, out);
  } else {
    squared_local_correlation(fixed, moved, measure_.radius, kCorrelationFloor, out);
  }
}

Objective::Objective(const std::vector<Images>& pairs, const Level& level, const Pool& pool, const Watch& watch)
    : watch_(watch), pool_(pool), field_shape_(coarse_shape(shape_of(pairs[0].fixed), level.scale, pool)) {
  for (size_t n = 0; n < pairs.size(); ++n) {
    pairs_.push_back(std::make_unique<PairObjective>(pairs[n], level, level.measures[n], pool, watch));
  }
  valid_sample_ = pairs_[0]->sample();
  if (level.image_scale < level.scale) finer_ = make_field(3, shape_of(pairs_[0]->images().fixed()));
}

double Objective::evaluate(const ConstField& field) {
  if (!is_finer() || field.data == nullptr) return compare(field);
  upsample_into(field, pool_, finer_);
  watch_.after("upsample");
  return compare(finer_);
}

double Objective::compare(const ConstField& field) {
  std::vector<double> values, covered;
  for (const auto& pair : pairs_) values.push_back(pair->evaluate(field));
  if (pairs_.size() == 1) return values[0];
  std::fill(valid_sample_.counts.begin(), valid_sample_.counts.end(), uint8_t{0});
  for (const auto& pair : pairs_) {
    const Sample valid = pair->valid(pairs_[0]->sample());
    for (size_t n = 0; n < valid.counts.size(); ++n) valid_sample_.counts[n] |= valid.counts[n];
    covered.push_back(pair->share() * static_cast<double>(std::max<int64_t>(valid.count(), 1)));
  }
  const double all = std::accumulate(covered.begin(), covered.end(), 0.0);
  double total = 0.0;
  for (size_t n = 0; n < values.size(); ++n) total += covered[n] / all * values[n];
  return total;
}

void Objective::force(const Field& out) {
  if (!is_finer()) return force_of_images(out);
  force_of_images(finer_);
  for (int64_t c = 0; c < 3; ++c) block_means_into(finer_.view()[c], pool_, out[c]);
  watch_.after("average");
}

void Objective::force_of_images(const Field& out) {
  pairs_[0]->force(out);
  const Field scratch = first_channels(pairs_[0]->terms(), 3);
  double keep = pairs_[0]->share();
  for (size_t n = 1; n < pairs_.size(); ++n) {
    PairObjective& pair = *pairs_[n];
    pair.force(scratch);
    const double scale = pair.share() * force_unit() / std::max(pair.force_unit(), kMinUnit);
    lightcrcf::accumulate(out, static_cast<float>(keep), scratch, static_cast<float>(scale));
    watch_.after("add");
    keep = 1.0;
  }
}

}  // namespace lightcrcf
