// The Jacobian determinant of displacement fields, and a gradient step on its penalty.
#pragma once

#include <cstdint>

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Return det(I + du/dx) at every voxel, by central differences, one-sided at the borders.
//
// u: (3, D, H, W) voxels; out: (D, H, W), overwritten.
LIGHTCRCF_KERNEL(void, jacobian_determinant, (ConstField u, Volume out))

// The same at some voxels: (N) flat indices into (D, H, W); out: (N).
LIGHTCRCF_KERNEL(void, determinants_at, (ConstField u, View<const int64_t, 1> voxels, View<float, 1> out))

// u += rate * grad p with p = (J - 1 / J) / 2, a step on the penalty (J + 1 / J) / 2 of volume change.
//
// u: (3, D, H, W) voxels, changed in place; determinants: J, (D, H, W), clamped to [1/5, 5]; NaN becomes the minimum.
LIGHTCRCF_KERNEL(void, even_out, (Field u, ConstVolume determinants, float rate))

}  // namespace lightcrcf
