// Resampling of volumes onto another grid.
//
// Each voxel x of `out` becomes `moving` at the point where a mapping takes x. A point in [-0.5, n - 0.5) along each axis
// is inside and clamped to the border voxels, as in ITK; outside, the result is `fill`.
#pragma once

#include <cstdint>

#include "base/dispatch.hpp"
#include "base/view.hpp"
#include "sampling/mapping.hpp"

namespace lightcrcf {

// Trilinear. moving: (d, h, w); out: (D, H, W), overwritten.
LIGHTCRCF_KERNEL(void, resample_linear, (ConstVolume moving, const Mapping& mapping, float fill, Volume out))

// The same by Keys' cubic convolution with a = -0.5 (Catmull-Rom), 4 x 4 x 4 voxels; voxels beyond a border repeat it.
LIGHTCRCF_KERNEL(void, resample_cubic, (ConstVolume moving, const Mapping& mapping, float fill, Volume out))

// The nearest voxel, ties upwards as in ITK, for values of any type of that size.
LIGHTCRCF_KERNEL(void, resample_nearest8, (View<const uint8_t, 3>, const Mapping&, uint8_t, View<uint8_t, 3>))
LIGHTCRCF_KERNEL(void, resample_nearest16, (View<const uint16_t, 3>, const Mapping&, uint16_t, View<uint16_t, 3>))
LIGHTCRCF_KERNEL(void, resample_nearest32, (View<const uint32_t, 3>, const Mapping&, uint32_t, View<uint32_t, 3>))
LIGHTCRCF_KERNEL(void, resample_nearest64, (View<const uint64_t, 3>, const Mapping&, uint64_t, View<uint64_t, 3>))

}  // namespace lightcrcf
