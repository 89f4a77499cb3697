// Means over blocks of voxels.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Edge lengths of blocks in voxels, at least 1.
struct BlockShape {
  int64_t depth, height, width;
};

// out = means over blocks of voxels; incomplete blocks at the end average the voxels they have.
//
// data: (D, H, W), values that are not finite count as zero; out: (ceil(D / depth), ...), overwritten.
LIGHTCRCF_KERNEL(void, block_mean, (ConstVolume data, BlockShape block, Volume out))

}  // namespace lightcrcf
