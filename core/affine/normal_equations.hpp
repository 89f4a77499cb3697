// Normal equations for Gauss-Newton steps on an affine.
#pragma once

#include "affine/alignment.hpp"
#include "base/dispatch.hpp"

namespace lightcrcf {

// out = sum over samples of w c c^T with columns c = [dm/dmatrix (12, row-major), m, 1, f].
//
// out: (15, 15), overwritten. Slabs of planes are summed by themselves, and added in order.
LIGHTCRCF_KERNEL(void, normal_equations, (const Alignment& images, Matrix matrix, View<double, 2> out))

// The same with columns c = [s dm/dmatrix (12), 0, 1, 0], for Fisher scoring.
//
// s is read from slopes (bins, bins) at (f, m), linear between entries, which are evenly spaced from 0 to `top` along
// both axes; at least two bins. Entries of `out` for m and f are meaningless; samples outside do not count.
LIGHTCRCF_KERNEL(void, fisher_sums,
                 (const Alignment& images, Matrix matrix, View<const double, 2> slopes, double top, View<double, 2> out))

}  // namespace lightcrcf
