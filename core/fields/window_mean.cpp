#include "fields/window_mean.hpp"

#include <cstring>

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "base/simd.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int64_t kStrip = 128;  // columns of voxels that are summed over planes at a time, from the cache

// Return the least multiple of the vector length that is at least n.
constexpr int64_t padded(int64_t n) { return (n + lanes - 1) / lanes * lanes; }

// to[k] = scale * (rows[0][k] + rows[1][k] + ...), rows `stride` values apart. Reads rows up to a multiple of the vectors.
void mean_of_rows(const float* rows, int64_t stride, int64_t number, int64_t count, float scale, float* to) {
  const Vector factor = broadcast(scale);
  for (int64_t k = 0; k < count; k += lanes) {
    const float* row = rows + k;
    Vector total = load(row);
    for (int64_t m = 1; m < number; ++m) total += load(row += stride);
    store_first(to + k, total * factor, count - k);
  }
}

// The window at position i of an axis of n voxels.
struct Window {
  int64_t first, size;

  Window(int64_t i, int64_t radius, int64_t n) : first(most(i - radius, 0)), size(least(i + radius + 1, n) - first) {}
};

// The mean along the last two axes of a plane.
void mean_in_plane(const float* plane, int64_t height, int64_t width, int64_t radius, float* out) {
  const float scale = 1.0f / static_cast<float>(2 * radius + 1);
  const int64_t reach = least(radius, width), stride = padded(width);
  radius = least(radius, height);
  Scratch<float> line(stride + 2 * reach), rows(height * stride);  // a row between zeros; the means of all rows
  std::memset(line.get(), 0, (stride + 2 * reach) * sizeof(float));
  for (int64_t j = 0; j < height; ++j) {
    std::memcpy(&line[reach], plane + j * width, width * sizeof(float));
    mean_of_rows(line.get(), 1, 2 * reach + 1, stride, scale, &rows[j * stride]);
  }
  for (int64_t j = 0; j < height; ++j) {
    const Window window(j, radius, height);
    mean_of_rows(&rows[window.first * stride], stride, window.size, width, scale, out + j * width);
  }
}

// The mean along the first axis of some columns, in place; planes are `area` values apart.
void mean_over_planes(float* columns, int64_t count, int64_t depth, int64_t area, int64_t radius) {
  const float scale = 1.0f / static_cast<float>(2 * radius + 1);
  radius = least(radius, depth);
  Scratch<float> copy(depth * kStrip);
  for (int64_t i = 0; i < depth; ++i) {
    std::memcpy(&copy[i * kStrip], columns + i * area, count * sizeof(float));
    if (count < kStrip) std::memset(&copy[i * kStrip + count], 0, (kStrip - count) * sizeof(float));
  }
  for (int64_t i = 0; i < depth; ++i) {
    const Window window(i, radius, depth);
    mean_of_rows(&copy[window.first * kStrip], kStrip, window.size, count, scale, columns + i * area);
  }
}

}  // namespace

void window_mean(ConstField images, int64_t radius, Field out) {
  const int64_t channels = out.shape[0], depth = out.shape[1], height = out.shape[2], width = out.shape[3];
  parallel_for(channels * depth, [&](int64_t i) {
    mean_in_plane(images.data + i * height * width, height, width, radius, out.data + i * height * width);
  });
  const int64_t area = height * width, strips = (area + kStrip - 1) / kStrip;
  parallel_for(channels * strips, [&](int64_t i) {
    const int64_t first = i % strips * kStrip;
    mean_over_planes(out.at(i / strips) + first, least(kStrip, area - first), depth, area, radius);
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
