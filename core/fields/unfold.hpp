// Folds in the cells between voxels: their repair. See cell_numbers.hpp.
#pragma once

#include <cstdint>

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Move the voxels of cells with a number below `floor` along the gradient of the least, by `factor` times the gap to
// `target`.
struct Repair {
  float floor, target, factor;
};

// Each move is a Newton step on the linearised number, limited to half a voxel, and repeated once if needed. No two cells
// may share a voxel.
//
// u: (3, D, H, W) voxels, changed in place; cells: (N) flat indices; moved: (N), becomes 1 where a cell changed, else 0.
LIGHTCRCF_KERNEL(void, unfold, (Field u, View<const int64_t, 1> cells, Repair repair, View<uint8_t, 1> moved))

// Return u averaged with the weights 1, 2, 1 along each axis at some voxels, borders repeated.
//
// u: (3, D, H, W) voxels; voxels: (N) flat indices; out: (3, N).
LIGHTCRCF_KERNEL(void, smooth_at, (ConstField u, View<const int64_t, 1> voxels, View<float, 2> out))

}  // namespace lightcrcf
