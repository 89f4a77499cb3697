// Objective of a refinement at one level: the similarity of all pairs of images, and its gradient.
#pragma once

#include <memory>
#include <vector>

#include "registration/channels.hpp"
#include "registration/schedule.hpp"
#include "registration/watch.hpp"

namespace lightcrcf {

// Which voxels of a grid count, of every third one of the field's grid along each axis.
struct Sample {
  std::vector<uint8_t> counts;

  int64_t count() const;
};

// The similarity of one pair.
class PairObjective {
 public:
  // images: at full resolution; measure: of this pair at this level.
  PairObjective(const Images& images, const Level& level, const Measure& measure, const Pool& pool, const Watch& watch);

  // Compute the similarity under a displacement, (3, D, H, W) voxels, and keep what `force` needs; without data, under
  // the identity.
  double evaluate(const ConstField& field);

  // Compute the gradient at the field of the last evaluation into `out`, (3, D, H, W), no part of the terms; these are
  // overwritten too.
  void force(const Field& out);

  // Return the mean weight of a window, or for mse the mean squared gradient of the fixed image.
  double force_unit() const;

  // Compute the similarity of the fixed and a moved image around each voxel, from 0 to 1; all (D, H, W).
  void local_similarity(const ConstVolume& moved, const Volume& out) const;

  // Return which voxels of a sample both images show.
  Sample valid(const Sample& sample) const;

  const Sample& sample() const { return sample_; }              // the foreground of the fixed image
  const Sample& valid_sample() const { return valid_sample_; }  // that the last evaluation found shown by both images
  double share() const { return share_; }
  double noise() const { return noise_; }  // variance of the difference of both images
  double attained() const { return attained_; }  // share of what noise allows; of mse, the similarity itself
  Channel& images() { return *channels_[0]; }
  ConstVolume fixed_mask() const { return fixed_mask_; }
  ConstVolume moving_mask() const { return moving_mask_; }
  ConstVolume weight() const { return weight_; }  // the product of both masks at the last evaluation
  Field terms() const { return terms_; }          // hold what the force needs until the next evaluation

 private:
  void add_channels(Image fixed, Image moving, const Images& images, double voxels);
  void update_weight(const ConstField& field);

  const Watch& watch_;
  Measure measure_;
  double share_, noise_, attained_ = 0.0, mean_squared_gradient_ = 0.0;
  Image fixed_mask_, moving_mask_;
  VolumeArray moved_mask_;
  ConstVolume weight_{nullptr, {}};
  FieldArray terms_, contrast_terms_;
  std::vector<std::unique_ptr<Channel>> channels_;
  Pool stride_;  // of the sample, in voxels of the images
  Sample sample_, valid_sample_;
  int64_t foreground_;  // voxels
};

// The weighted mean of the similarities of all pairs. The units of the first one are those of forces.
//
// Where the images are finer than the field, the field is upsampled, and forces are averaged over its voxels.
class Objective {
 public:
  Objective(const std::vector<Images>& pairs, const Level& level, const Pool& pool, const Watch& watch);

  // As of a pair. Each counts by its share, and by how much of the first fixed image's foreground it covers.
  double evaluate(const ConstField& field);

  // Compute the gradient at the field of the last evaluation with respect to a displacement applied first: the sum over
  // the pairs by their shares, each in units of its own. out: (3, D, H, W) of the field.
  void force(const Field& out);

  double force_unit() const { return pairs_[0]->force_unit(); }
  const Sample& valid_sample() const { return pairs_.size() == 1 ? pairs_[0]->valid_sample() : valid_sample_; }

  // Return (3, D, H, W) of the field, which each evaluation overwrites: the force needs what is in it. None, without data,
  // where the images are finer than the field.
  Field workspace() const { return is_finer() ? Field{nullptr, {}} : first_channels(pairs_[0]->terms(), 3); }

  Shape field_shape() const { return field_shape_; }
  const std::vector<std::unique_ptr<PairObjective>>& pairs() const { return pairs_; }

 private:
  double compare(const ConstField& field);
  void force_of_images(const Field& out);
  bool is_finer() const { return finer_.size() > 0; }

  const Watch& watch_;
  Pool pool_;
  Shape field_shape_;
  std::vector<std::unique_ptr<PairObjective>> pairs_;
  Sample valid_sample_;
  FieldArray finer_;  // the upsampled field, then its force; empty where images and field have one grid
};

}  // namespace lightcrcf
