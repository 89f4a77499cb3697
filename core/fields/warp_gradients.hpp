// Adjoints of the warp, for training.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Return the gradient of sum(gradient * features(x + u(x))) by u; zero along an axis where the point was clamped.
//
// features, gradient: (C, D, H, W); u: (3, D, H, W) voxels; out: (3, D, H, W), overwritten.
LIGHTCRCF_KERNEL(void, warp_gradient, (ConstField features, ConstField u, ConstField gradient, Field out))

// Return the gradient of the same sum by the features.
//
// u: (3, D, H, W) voxels; gradient: (C, D, H, W); out: (C, D, H, W), overwritten. One thread sums a channel in order.
LIGHTCRCF_KERNEL(void, warp_features_gradient, (ConstField u, ConstField gradient, Field out))

}  // namespace lightcrcf
