#include "registration/local_similarity.hpp"

#include <cmath>

#include "fields/window_mean.hpp"
#include "refinement/explained.hpp"
#include "refinement/smooth.hpp"
#include "registration/gaussian.hpp"

namespace lightcrcf {
namespace {

constexpr float kMinWeight = 1e-3f;     // of the voxels around one that count
constexpr double kMinDeviation = 1e-6;  // of an image that shows nothing

// The maximum with 0; NaN stays NaN.
inline float positive(float value) { return value < 0.0f ? 0.0f : value; }

// Compute channel c of `means`: window means of value(n) at each voxel n. `products`: (D, H, W), overwritten.
template <typename Value>
void mean_of(const Value& value, int64_t radius, const Volume& products, const Field& means, int64_t c) {
  for_parts(products.size(), [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) products.data[n] = value(n);
  });
  lightcrcf::window_mean(as_field(ConstVolume(products)), radius, as_field(means[c]));
}

// Compute the local standard deviation of an image; return the largest.
double deviation(const ConstVolume& image, const ConstVolume& mask, const Array<float, 2>& taps, const Volume& out) {
  const int64_t size = image.size();
  FieldArray moments = make_field(3, shape_of(image)), means = make_field(3, shape_of(image));
  float *first = moments.data(), *second = first + size, *count = second + size;
  for_parts(size, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      count[n] = mask.data == nullptr ? 1.0f : mask.data[n];
      first[n] = count[n] * image.data[n];
      second[n] = first[n] * image.data[n];
    }
  });
  lightcrcf::smooth(moments, taps, means);
  const float *mean = means.data(), *square = mean + size, *weight = square + size;
  for_parts(size, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float counted = weight[n] < kMinWeight ? kMinWeight : weight[n], m = mean[n] / counted;
      out.data[n] = std::sqrt(positive(square[n] / counted - m * m));
    }
  });
  return size == 0 ? 0.0 : static_cast<double>(*std::max_element(out.data, out.data + size));
}

}  // namespace

void squared_local_correlation(const ConstVolume& fixed, const ConstVolume& moved, int64_t radius, float floor,
                               const Volume& out) {
  const float *f = fixed.data, *m = moved.data;
  const int64_t size = fixed.size();
  const FieldArray means = make_field(5, shape_of(fixed));
  mean_of([=](int64_t n) { return f[n]; }, radius, out, means, 0);
  mean_of([=](int64_t n) { return m[n]; }, radius, out, means, 1);
  mean_of([=](int64_t n) { return f[n] * f[n]; }, radius, out, means, 2);
  mean_of([=](int64_t n) { return m[n] * m[n]; }, radius, out, means, 3);
  mean_of([=](int64_t n) { return f[n] * m[n]; }, radius, out, means, 4);
  const float *a = means.data(), *b = a + size, *aa = b + size, *bb = aa + size, *ab = bb + size;
  for_parts(size, [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const float covariance = ab[n] - a[n] * b[n];
      const float variances = positive(aa[n] - a[n] * a[n]) * positive(bb[n] - b[n] * b[n]);
      out.data[n] = covariance * covariance / (variances + floor);
    }
  });
}

void locally_explained(const ConstVolume& fixed, const ConstVolume& moved, int64_t radius, const Volume& out) {
  const float *f = fixed.data, *m = moved.data;
  const int64_t size = fixed.size();
  const FieldArray basis = make_field(5, shape_of(fixed)), means = make_field(4, shape_of(fixed));
  lightcrcf::explained_basis(ImagePair{fixed, moved, {nullptr, {}}, radius}, ExplainedLimits{kExplainedRidge, 0.0f},
                             basis);
  mean_of([=](int64_t n) { return m[n]; }, radius, out, means, 0);
  mean_of([=](int64_t n) { return m[n] * m[n]; }, radius, out, means, 1);
  mean_of([=](int64_t n) { return f[n] * m[n]; }, radius, out, means, 2);
  mean_of([=](int64_t n) { return f[n] * (f[n] * m[n]); }, radius, out, means, 3);
  const float *mean = basis.data(), *square = mean + size, *p = square + size, *q = p + size, *r = q + size;
  const float *a = means.data(), *aa = a + size, *fa = aa + size, *ffa = fa + size;
  for_parts(size, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float first = fa[n] - a[n] * mean[n], second = ffa[n] - a[n] * square[n];
      const float e1 = p[n] * first, e2 = q[n] * second + r[n] * first;
      out.data[n] = (e1 * e1 + e2 * e2) / (positive(aa[n] - a[n] * a[n]) + kExplainedFloor);
    }
  });
}

std::array<VolumeArray, 2> local_deviations(const std::array<ConstVolume, 2>& images,
                                            const std::array<ConstVolume, 2>& masks, double sigma) {
  const Array<float, 2> taps = gaussian_taps(sigma);
  std::array<VolumeArray, 2> found;
  double largest = kMinDeviation;
  for (int n = 0; n < 2; ++n) {
    found[n] = make_volume(shape_of(images[n]));
    largest = std::max(largest, deviation(images[n], masks[n], taps, found[n]));
  }
  const auto divisor = static_cast<float>(largest);
  for (const VolumeArray& each : found) {
    float* values = each.data();
    for_parts(each.size(), [=](int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) values[n] /= divisor;
    });
  }
  return found;
}

}  // namespace lightcrcf
