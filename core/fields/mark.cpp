#include "fields/mark.hpp"

#include <cstring>

#include "base/parallel.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Mark the part of a cube around voxel `at` that is in the planes [first, last).
void mark_cube(int64_t at, int64_t radius, int64_t first, int64_t last, View<uint8_t, 3> out) {
  const int64_t height = out.shape[1], width = out.shape[2], row = at / width, i = row / height;
  const int64_t z0 = most(i - radius, first), z1 = least(i + radius + 1, last);
  if (z0 >= z1) return;
  const int64_t j = row - i * height, k = at - row * width;
  const int64_t y0 = most(j - radius, 0), y1 = least(j + radius + 1, height);
  const int64_t x0 = most(k - radius, 0), x1 = least(k + radius + 1, width);
  for (int64_t z = z0; z < z1; ++z) {
    for (int64_t y = y0; y < y1; ++y) std::memset(out.at(z, y, x0), 1, static_cast<size_t>(x1 - x0));
  }
}

}  // namespace

void mark_cubes(View<const int64_t, 1> voxels, int64_t radius, View<uint8_t, 3> out) {
  // Each thread goes through all voxels, and marks planes of its own.
  const int64_t depth = out.shape[0], parts = least(thread_count(), depth);
  parallel_for(parts, [&](int64_t part) {
    const int64_t first = part * depth / parts, last = (part + 1) * depth / parts;
    for (int64_t n = 0; n < voxels.shape[0]; ++n) mark_cube(voxels.data[n], radius, first, last, out);
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
