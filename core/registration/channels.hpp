// Similarity measures of a refinement: local correlation, and local variance explained across contrasts.
#pragma once

#include "refinement/image_pair.hpp"
#include "registration/images.hpp"

namespace lightcrcf {

// The mean similarity of a fixed and a moved image over all windows, and its share of what noise allows.
struct Similarity {
  double mean, attained;
};

// A pair of images and their similarity.
class Channel {
 public:
  // share: weight in the objective.
  Channel(Image fixed, Image moving, double share);
  virtual ~Channel() = default;

  ConstVolume fixed() const { return fixed_; }
  ConstVolume moving() const { return moving_; }
  ConstVolume moved() const { return moved_; }
  double share() const { return share_; }
  double weights() const { return weights_; }  // sum over all windows

  // Warp the moving image by a field, (3, D, H, W) voxels; without data, by the identity.
  void move(const ConstField& field) const;

  // Compare the fixed and the moved image. weight: of the voxels; without data all count.
  virtual Similarity compare(const ConstVolume& weight, int64_t radius) = 0;

  // Compute the gradient of the last comparison into `out`, (3, D, H, W), no part of its terms.
  virtual void force(const ConstVolume& weight, int64_t radius, const Field& out) const = 0;

  // Multiply the moving image, or a copy of it if it was borrowed, by factors (D, H, W).
  void multiply_moving(const ConstVolume& factors);

 protected:
  ImagePair pair(const ConstVolume& weight, int64_t radius) const { return {fixed_, moved_, weight, radius}; }

  // Return the similarity from sums over windows, (3, H): of gains, of weights, and of attainable gains.
  Similarity similarity(const View<double, 2>& sums);

 private:
  Image fixed_, moving_;
  VolumeArray moved_;
  double share_, weights_ = 1.0;
};

// Squared local correlation. terms: (3, D, H, W), keeps what the force needs.
class CorrelationChannel : public Channel {
 public:
  // noise: variance of the difference of both images, in squared units of the fixed one.
  CorrelationChannel(Image fixed, Image moving, double share, Field terms, double noise)
      : Channel(std::move(fixed), std::move(moving), share), terms_(terms), noise_(static_cast<float>(noise)) {}

  Similarity compare(const ConstVolume& weight, int64_t radius) override;
  void force(const ConstVolume& weight, int64_t radius, const Field& out) const override;

 private:
  Field terms_;
  float noise_;
};

// Share of the local variance of the moving image that 1, f and f^2 of the fixed one explain. terms: (4, D, H, W).
class ExplainedVarianceChannel : public Channel {
 public:
  // noise: variances of both images, each in its own squared units.
  ExplainedVarianceChannel(Image fixed, Image moving, double share, Field terms, const std::array<double, 2>& noise);

  Similarity compare(const ConstVolume& weight, int64_t radius) override;
  void force(const ConstVolume& weight, int64_t radius, const Field& out) const override;

 private:
  Field terms_;
  std::array<double, 2> noise_;
  FieldArray basis_;
  int64_t basis_radius_ = -1;  // of a basis without weights; weights may move, so that with any it is computed again
};

}  // namespace lightcrcf
