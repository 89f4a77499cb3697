#include "registration/channels.hpp"

#include "refinement/correlation.hpp"
#include "refinement/explained.hpp"
#include "registration/local_similarity.hpp"
#include "registration/statistics.hpp"
#include "sampling/warp.hpp"

namespace lightcrcf {
namespace {

constexpr double kMinWeights = 1e-3;  // of all windows of an image that shows nothing

double row_sum(const View<double, 2>& sums, int64_t row) {
  const double* values = sums.at(row);
  return pairwise_sum([=](int64_t n) { return values[n]; }, 0, sums.shape[1]);
}

}  // namespace

Channel::Channel(Image fixed, Image moving, double share)
    : fixed_(std::move(fixed)), moving_(std::move(moving)), moved_(make_volume(shape_of(moving_.view()))), share_(share) {}

void Channel::move(const ConstField& field) const {
  if (field.data == nullptr) {
    copy_values(moving_.data(), moved_.size(), moved_.data());
  } else {
    lightcrcf::warp(as_field(moving_.view()), field, as_field(moved_.view()));
  }
}

void Channel::multiply_moving(const ConstVolume& factors) {
  const Volume values = moving_.own();
  for_parts(values.size(), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) values.data[n] *= factors.data[n];
  });
}

Similarity Channel::similarity(const View<double, 2>& sums) {
  const double gained = row_sum(sums, 0);
  weights_ = std::max(row_sum(sums, 1), kMinWeights);
  return {gained / weights_, gained / std::max(row_sum(sums, 2), kMinWeights)};
}

Similarity CorrelationChannel::compare(const ConstVolume& weight, int64_t radius) {
  const Array<double, 2> sums(3, fixed().shape[1]);
  lightcrcf::correlation_terms(pair(weight, radius), CorrelationLimits{kCorrelationFloor, noise_}, terms_, sums);
  return similarity(sums);
}

void CorrelationChannel::force(const ConstVolume& weight, int64_t radius, const Field& out) const {
  lightcrcf::correlation_force(pair(weight, radius), terms_, out);
}

ExplainedVarianceChannel::ExplainedVarianceChannel(Image fixed, Image moving, double share, Field terms,
                                                   const std::array<double, 2>& noise)
    : Channel(std::move(fixed), std::move(moving), share), terms_(terms), noise_(noise),
      basis_(make_field(5, shape_of(terms))) {}

Similarity ExplainedVarianceChannel::compare(const ConstVolume& weight, int64_t radius) {
  const ImagePair images = pair(weight, radius);
  const ExplainedLimits limits{kExplainedRidge, kExplainedFloor,
                               {static_cast<float>(noise_[0]), static_cast<float>(noise_[1])}};
  if (weight.data != nullptr || basis_radius_ != radius) {
    lightcrcf::explained_basis(images, limits, basis_);
    basis_radius_ = weight.data == nullptr ? radius : -1;
  }
  const Array<double, 2> sums(3, fixed().shape[1]);
  lightcrcf::explained_terms(images, limits, basis_, terms_, sums);
  return similarity(sums);
}

void ExplainedVarianceChannel::force(const ConstVolume& weight, int64_t radius, const Field& out) const {
  lightcrcf::explained_force(pair(weight, radius), terms_, out);
}

}  // namespace lightcrcf
