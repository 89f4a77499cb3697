#include "registration/images.hpp"

#include "fields/window_mean.hpp"

namespace lightcrcf {
namespace {

constexpr float kLeastWeight = 1e-3f;  // of the voxels around one that count
constexpr int kRimVoxels = 3;          // around what counts, extrapolated so that interpolation has something to read

VolumeArray product(const ConstVolume& a, const ConstVolume& b) {
  VolumeArray out = make_volume(shape_of(a));
  const float *x = a.data, *y = b.data;
  float* to = out.data();
  for_parts(out.size(), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) to[n] = x[n] * y[n];
  });
  return out;
}

// values = sums / counts where that is known, else 0; known = 1 there.
void divide_known(const ConstVolume& counts, Volume values, Volume known) {
  for_parts(values.size(), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const float count = counts.data[n];
      const bool counted = count > kLeastWeight;
      values.data[n] = counted ? values.data[n] / count : 0.0f;
      known.data[n] = counted ? 1.0f : 0.0f;
    }
  });
}

// Set unknown voxels with known ones around them to their mean.
void extrapolate(Volume values, Volume known, Volume near, Volume share) {
  lightcrcf::window_mean(as_field(ConstVolume(values)), 1, as_field(near));
  lightcrcf::window_mean(as_field(ConstVolume(known)), 1, as_field(share));
  for_parts(values.size(), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      if (known.data[n] != 0.0f || !(share.data[n] > kLeastWeight)) continue;
      values.data[n] = near.data[n] / share.data[n];
      known.data[n] = 1.0f;
    }
  });
}

// Return the weight, times `background` where a masked image was set to 0.
Image with_background(const Image& image, Image weight, float background) {
  if (background == 1.0f) return weight;
  VolumeArray inside = make_volume(shape_of(image.view()));
  const float *values = image.data(), *weights = weight.data();
  float* to = inside.data();
  for_parts(inside.size(), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) to[n] = values[n] > 0.0f ? 1.0f : background;
    if (weights == nullptr) return;
    for (int64_t n = first; n < last; ++n) to[n] *= weights[n];
  });
  return inside;
}

double share_at(const ImageNoise& noise, double voxels) { return std::min(1.0, noise.size / voxels); }

}  // namespace

double Noise::at(double voxels) const {
  return fixed.variance * share_at(fixed, voxels) + moving.variance * share_at(moving, voxels);
}

std::array<double, 2> Noise::each_at(double voxels) const {
  return {fixed.variance * fixed.unit * share_at(fixed, voxels), moving.variance * moving.unit * share_at(moving, voxels)};
}

Images Images::swapped() const {
  std::optional<Noise> other;
  if (noise) other = Noise{noise->moving, noise->fixed};
  return {moving, fixed, moving_mask, fixed_mask, other, {masked[1], masked[0]}, share};
}

ScaledImage scale_image(const ConstVolume& image, const ConstVolume& mask, const Pool& blocks) {
  const bool one = blocks == Pool{1, 1, 1};
  if (mask.data == nullptr) return {one ? Image(image) : Image(block_means(image, blocks)), Image()};
  Image counts = one ? Image(mask) : Image(block_means(mask, blocks));
  VolumeArray scaled = product(image, mask);
  if (!one) scaled = block_means(scaled, blocks);
  const Shape shape = shape_of(scaled.view());
  const VolumeArray known = make_volume(shape), near = make_volume(shape), share = make_volume(shape);
  divide_known(counts, scaled, known);
  for (int n = 0; n < kRimVoxels; ++n) extrapolate(scaled, known, near, share);
  return {std::move(scaled), std::move(counts)};
}

std::pair<ScaledImage, ScaledImage> scale_images(const Images& images, const Pool& blocks, double background) {
  ScaledImage fixed = scale_image(images.fixed, images.fixed_mask, blocks);
  ScaledImage moving = scale_image(images.moving, images.moving_mask, blocks);
  const auto weight = static_cast<float>(background);
  if (images.masked[0]) fixed.weight = with_background(fixed.image, std::move(fixed.weight), weight);
  if (images.masked[1]) moving.weight = with_background(moving.image, std::move(moving.weight), weight);
  return {std::move(fixed), std::move(moving)};
}

}  // namespace lightcrcf
