// Gaussian smoothing.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Convolve each channel with a symmetric window along each axis; the values at the borders stand for those outside.
//
// values: (C, D, H, W); taps: (3, R + 1), one half of the window along each axis, from the centre outwards; out: as
// values, overwritten, another array. Each channel gets the same result whatever the others.
LIGHTCRCF_KERNEL(void, smooth, (ConstField values, View<const float, 2> taps, Field out))

}  // namespace lightcrcf
