// The schedule of a refinement, as data: levels from coarse to fine.
#pragma once

#include <cstdint>
#include <vector>

namespace lightcrcf {

// Local correlation; squared differences; or what of one image another explains, across contrasts.
enum class Metric { lncc, mse, explained };

// How a pair of images is compared.
struct Measure {
  Metric metric;
  int64_t radius;         // of windows, in voxels to each side
  double contrast;        // weight of the correlation of local contrast; 0 for mse
  double contrast_sigma;  // of the Gaussian under which local contrast is taken, voxels
};

// Direction and Gaussians of a candidate field.
struct CandidateKind {
  bool backward;  // from the moving to the fixed image
  double force_sigma, field_sigma;
};

// Most candidates of a level.
constexpr int64_t kMostCandidates = 8;

// Steps at one resolution.
struct Level {
  int64_t scale;     // of the field: 1 for full resolution, 2, 4 or 8
  int64_t image_scale;  // of the images: that of the field, or half of it
  int64_t steps;     // at most
  double step;       // length of the longest update, voxels; at most 1
  double momentum;   // share of the step before that each step carries on
  double force;      // in units of the objective, from which on a step has full length
  double volume;     // how much of a change of volume each step evens out, squared voxels
  double background;  // weight of voxels that a mask has set to 0
  double min_merge_ratio;  // share of the best candidate's objective that a merged field must reach; 0 for none
  std::vector<CandidateKind> candidates;  // the first one is forward
  std::vector<Measure> measures;          // of each pair
};

}  // namespace lightcrcf
