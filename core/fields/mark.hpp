// Marks around some voxels.
#pragma once

#include <cstdint>

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// out = 1 in cubes of 2 * radius + 1 voxels around some voxels: (N) flat indices into `out` (D, H, W). The rest stays.
LIGHTCRCF_KERNEL(void, mark_cubes, (View<const int64_t, 1> voxels, int64_t radius, View<uint8_t, 3> out))

}  // namespace lightcrcf
