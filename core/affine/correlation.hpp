// Sums for the correlation of two images under affines.
#pragma once

#include "affine/alignment.hpp"
#include "base/dispatch.hpp"

namespace lightcrcf {

// out[n] = sums over samples under matrix n of w times m m, m, m f, 1, f and f f.
//
// matrices: (N, 3, 4); out: (N, 6), overwritten. Slabs of planes are summed
// by themselves, and added in order.
LIGHTCRCF_KERNEL(void, correlation_sums,
                 (const Alignment& images, View<const double, 3> matrices, View<double, 2> out))

}  // namespace lightcrcf
