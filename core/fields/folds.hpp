// Folds in the cells between voxels: their detection. See cell_numbers.hpp.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Return the least number of each cell, a lower bound of the Jacobian determinant within it; NaN where a number is NaN.
//
// u: (3, D, H, W) voxels; out: (D + 1, H + 1, W + 1), overwritten.
LIGHTCRCF_KERNEL(void, lowest_determinants, (ConstField u, Volume out))

}  // namespace lightcrcf
