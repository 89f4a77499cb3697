// Joint histograms of two images, and interpolation in tables over intensity.
#pragma once

#include "affine/alignment.hpp"
#include "base/dispatch.hpp"

namespace lightcrcf {

// out = joint histogram of f (rows) and m (columns), weighted by w, with linear (partial volume) binning.
//
// out: (bins, bins), 2 to 128 bins, overwritten. Centres are evenly spaced from 0 to `top`; values beyond are clamped to
// them. Slabs of planes are summed by themselves, and added in order.
LIGHTCRCF_KERNEL(void, joint_histogram, (const Alignment& images, Matrix matrix, double top, View<double, 2> out))

// out[n] = table at values[n], linear between its entries (at least two), which are evenly spaced from 0 to `top`.
LIGHTCRCF_KERNEL(void, interpolate_table,
                 (View<const float, 1> values, View<const double, 1> table, double top, View<float, 1> out))

}  // namespace lightcrcf
