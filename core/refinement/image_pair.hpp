// What the similarity measures of the refinement compare.
#pragma once

#include "base/view.hpp"

namespace lightcrcf {

// A fixed and a warped moving image, (D, H, W), zero outside, and the windows that are compared.
struct ImagePair {
  ConstVolume fixed, moved;
  ConstVolume weight;  // of the voxels in the statistics; data is null if all count
  int64_t radius;      // of windows, in voxels to each side
};

}  // namespace lightcrcf
