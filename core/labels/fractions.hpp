// Fractions of labels in blocks of voxels.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// out[c] = the fraction of each block of voxels with label c + 1.
//
// labels: (D, H, W), labels outside of 1 to C are ignored; out: (C, d, h, w), overwritten. d divides D, h H and w W: a
// block is D/d x H/h x W/w voxels.
LIGHTCRCF_KERNEL(void, label_fractions, (View<const int32_t, 3> labels, Field out))

}  // namespace lightcrcf
