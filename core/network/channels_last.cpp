#include "network/channels_last.hpp"

#include "base/parallel.hpp"
#include "network/features.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

[[gnu::always_inline]] inline Eight load_eight(const float* from) {
  Eight values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

[[gnu::always_inline]] inline void store_eight(float* to, Eight values) { std::memcpy(to, &values, sizeof values); }

// out[c][k] = voxels[k][c] for `channels` <= 8 rows of `width` voxels, which are `between` apart.
void split_channels(const float* voxels, int64_t width, int64_t channels, int64_t between, float* out) {
  int64_t k = 0;
  for (; k + 8 <= width; k += 8) {
    Eight rows[8];
#pragma GCC unroll 8
    for (int n = 0; n < 8; ++n) rows[n] = load_eight(voxels + (k + n) * kBlock);
    transpose(rows);
    if (channels == kBlock) {
#pragma GCC unroll 8
      for (int c = 0; c < 8; ++c) store_eight(out + c * between + k, rows[c]);
    } else {
      for (int64_t c = 0; c < channels; ++c) store_eight(out + c * between + k, rows[c]);
    }
  }
  for (; k < width; ++k) {
    for (int64_t c = 0; c < channels; ++c) out[c * between + k] = voxels[k * kBlock + c];
  }
}

// voxels[k][c] = in[c][k], the inverse, with zeros from `channels` on.
void join_channels(const float* in, int64_t width, int64_t channels, int64_t between, float* voxels) {
  int64_t k = 0;
  for (; k + 8 <= width; k += 8) {
    Eight rows[8] = {};
    for (int64_t c = 0; c < channels; ++c) rows[c] = load_eight(in + c * between + k);
    transpose(rows);
#pragma GCC unroll 8
    for (int n = 0; n < 8; ++n) store_eight(voxels + (k + n) * kBlock, rows[n]);
  }
  for (; k < width; ++k) {
    for (int64_t c = 0; c < kBlock; ++c) voxels[k * kBlock + c] = c < channels ? in[c * between + k] : 0.0f;
  }
}

// voxels[k] = the interpolated channels in the cells.
void interpolate_voxels(const float* block, const Steps& steps, Cells cells, int64_t width, float* voxels) {
  const int64_t right = steps.right;
  for (int64_t k = 0; k < width; ++k) {
    const int64_t corner = kBlock * int64_t{cells.corner[k]};
    const auto load = [block, right](int64_t at) {
      Sixteen two;
      std::memcpy(&two, block + at, sizeof(Eight));
      std::memcpy(reinterpret_cast<char*>(&two) + sizeof(Eight), block + at + right, sizeof(Eight));
      return two;
    };
    store_eight(voxels + k * kBlock, interpolate_eight(corner, steps, cells.z[k], cells.y[k], cells.x[k], load));
  }
}

}  // namespace

void to_channels_last(ConstField features, View<float, 5> out) {
  const int64_t channels = features.shape[0], height = features.shape[2], width = features.shape[3];
  const int64_t between = features.shape[1] * height * width;
  parallel_for(features.shape[1], [&](int64_t i) {
    for (int64_t j = 0; j < height; ++j) {
      for (int64_t c = 0; c < channels; c += kBlock) {
        join_channels(features.at(c, i, j), width, least(channels - c, kBlock), between, out.at(c / kBlock, i, j));
      }
    }
  });
}

void warp_channels_last(View<const float, 5> features, ConstField displacement, Field out) {
  const int64_t channels = out.shape[0], height = out.shape[2], width = out.shape[3];
  const int64_t shape[3] = {out.shape[1], height, width}, between = shape[0] * height * width;
  const Steps steps = steps_of(shape, kBlock);
  parallel_for(shape[0], [&](int64_t i) {
    const RowCells memory(width);
    Scratch<float> voxels(width * kBlock);
    for (int64_t j = 0; j < height; ++j) {
      const Cells cells = memory.find(shape, displacement, i, j);
      for (int64_t c = 0; c < channels; c += kBlock) {
        interpolate_voxels(features.at(c / kBlock), steps, cells, width, voxels.get());
        split_channels(voxels.get(), width, least(channels - c, kBlock), between, out.at(c, i, j));
      }
    }
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
