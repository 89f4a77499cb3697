#include "sampling/resample.hpp"

#include "base/parallel.hpp"
#include "sampling/cubic.hpp"
#include "sampling/mapped_rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

// Call interpolate(rows, out + the offset of the row) with the points of each row.
template <typename T, typename Interpolate>
void by_rows(const Mapping& mapping, View<T, 3> out, const Interpolate& interpolate) {
  parallel_for(out.shape[0], [&](int64_t i) {
    const MappedRows rows(mapping, out.shape[2]);
    for (int64_t j = 0; j < out.shape[1]; ++j) {
      rows.find(i, j);
      interpolate(rows, out.at(i, j));
    }
  });
}

// index[k] = the voxel nearest to the point (z, y, x)[k], ties upwards; -1 outside.
void nearest_row(const int64_t (&shape)[3], const float* __restrict z, const float* __restrict y,
                 const float* __restrict x, int64_t count, int32_t* __restrict index) {
  const float end_z = static_cast<float>(shape[0]), end_y = static_cast<float>(shape[1]),
              end_x = static_cast<float>(shape[2]);
  const int32_t height = static_cast<int32_t>(shape[1]), width = static_cast<int32_t>(shape[2]);
  for (int64_t k = 0; k < count; ++k) {
    const float a = z[k] + 0.5f, b = y[k] + 0.5f, c = x[k] + 0.5f;
    const bool inside = (a >= 0.0f) & (a < end_z) & (b >= 0.0f) & (b < end_y) & (c >= 0.0f) & (c < end_x);
    const float p = inside ? a : 0.0f, q = inside ? b : 0.0f, r = inside ? c : 0.0f;
    const int32_t at = (static_cast<int32_t>(p) * height + static_cast<int32_t>(q)) * width + static_cast<int32_t>(r);
    index[k] = inside ? at : -1;
  }
}

template <typename T>
void nearest(View<const T, 3> moving, const Mapping& mapping, T fill, View<T, 3> out) {
  const int64_t width = out.shape[2];
  by_rows(mapping, out, [&](const MappedRows& rows, T* __restrict to) {
    int32_t* index = rows.cells().corner;
    nearest_row(moving.shape, rows.points(0), rows.points(1), rows.points(2), width, index);
    const T* __restrict from = moving.data;
    for (int64_t k = 0; k < width; ++k) {
      const T value = from[index[k] >= 0 ? index[k] : 0];
      to[k] = index[k] >= 0 ? value : fill;
    }
  });
}

}  // namespace

void resample_linear(ConstVolume moving, const Mapping& mapping, float fill, Volume out) {
  const int64_t width = out.shape[2];
  by_rows(mapping, out, [&](const MappedRows& rows, float* to) {
    const float *z = rows.points(0), *y = rows.points(1), *x = rows.points(2);
    find_cells(moving.shape, z, y, x, width, rows.cells());
    interpolate_row(moving, rows.cells(), width, to);
    fill_outside(moving.shape, z, y, x, width, fill, to);
  });
}

void resample_cubic(ConstVolume moving, const Mapping& mapping, float fill, Volume out) {
  const int64_t width = out.shape[2];
  by_rows(mapping, out, [&](const MappedRows& rows, float* to) {
    const float *z = rows.points(0), *y = rows.points(1), *x = rows.points(2);
    cubic_row(moving, z, y, x, width, to);
    fill_outside(moving.shape, z, y, x, width, fill, to);
  });
}

#define LIGHTCRCF_NEAREST(bits)                                                                            \
  void resample_nearest##bits(View<const uint##bits##_t, 3> moving, const Mapping& mapping,                \
                              uint##bits##_t fill, View<uint##bits##_t, 3> out) {                          \
    nearest(moving, mapping, fill, out);                                                                   \
  }
LIGHTCRCF_NEAREST(8)
LIGHTCRCF_NEAREST(16)
LIGHTCRCF_NEAREST(32)
LIGHTCRCF_NEAREST(64)
#undef LIGHTCRCF_NEAREST

}  // namespace lightcrcf::LIGHTCRCF_ISA
