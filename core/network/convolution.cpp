#include "network/convolution.hpp"

#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "network/tiles.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

constexpr int64_t kRows = 4, kLines = 6;  // output lines, and transformed input lines
constexpr int64_t kVoxels = 416;          // of a transformed line at most: consecutive lines with their margins
// Strides are constants, and no powers of two, which would collide in the cache.
constexpr int64_t kMaxLine = 256 - 2;           // voxels of a line without margins
constexpr int64_t kLine = kMaxLine + 18;        // between lines: with margins, and whole vectors
constexpr int64_t kStride = kVoxels + 16;       // between transformed lines
constexpr int64_t kChannel = kLines * kStride;  // transformed lines of a plane of one channel
constexpr int64_t kMaxBlocks = 8;             // of four rows
constexpr int64_t kMaxPlanes = 8;  // of a task: each input plane is transformed once for three output planes

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// A division of a grid into tasks.
struct Tiling {
  int64_t deep, down, across;      // number of tasks along each axis
  int64_t planes, blocks, length;  // of a task: planes, blocks of four rows, voxels along rows
};

Tiling tile_grid(const int64_t* shape, int64_t threads) {
  Tiling tiling;
  tiling.across = divide_up(shape[2], kMaxLine);
  tiling.length = divide_up(shape[2], tiling.across);
  const int64_t blocks = divide_up(shape[1], kRows);
  const int64_t fitting = least(most(kVoxels / (tiling.length + 2), 1), kMaxBlocks);
  tiling.blocks = divide_up(blocks, divide_up(blocks, fitting));
  tiling.down = divide_up(blocks, tiling.blocks);
  tiling.deep = divide_up(shape[0], kMaxPlanes);
  if (tiling.deep * tiling.down * tiling.across < 8 * threads) {  // few: as many for each thread
    tiling.deep = least(divide_up(tiling.deep, threads) * threads, shape[0]);
  }
  tiling.planes = divide_up(shape[0], tiling.deep);
  return tiling;
}

// A part of the grid, from (plane, row, column) on.
struct Task {
  int64_t plane, row, column, planes, blocks, length, span;
};

// Copy rows row - 1 ... of plane i from column - 1 on; 0 outside.
void load_lines(const float* image, const int64_t* shape, const Task& task, int64_t i, float* lines) {
  const int64_t begin = task.column - 1, low = most(-begin, 0), high = least(task.span, shape[2] - begin);
  for (int64_t r = 0; r < kRows * task.blocks + 2; ++r) {
    float* __restrict line = lines + r * kLine;
    const int64_t j = task.row - 1 + r;
    if (i < 0 || i >= shape[0] || j < 0 || j >= shape[1]) {
      std::memset(line, 0, task.span * sizeof(float));
      continue;
    }
    std::memcpy(line + low, image + (i * shape[1] + j) * shape[2] + begin + low, (high - low) * sizeof(float));
    if (low) line[0] = 0.0f;
    if (high < task.span) std::memset(line + high, 0, (task.span - high) * sizeof(float));
  }
}

// Transform six lines: B^T of the source. Whole vectors: what is written after the span is not used, or overwritten.
void transform_lines(const float* x, int64_t span, float* to) {
  for (int64_t n = 0; n < span; n += lanes) {
    const Vector d0 = load(x + n), d1 = load(x + n + kLine), d2 = load(x + n + 2 * kLine), d3 = load(x + n + 3 * kLine),
                 d4 = load(x + n + 4 * kLine), d5 = load(x + n + 5 * kLine);
    const Vector even = d4 - 4.0f * d2, odd = d3 - 4.0f * d1, near = d4 - d2, far = 2.0f * (d3 - d1);
    store(to + n, 4.0f * d0 - 5.0f * d2 + d4);
    store(to + n + kStride, even + odd);
    store(to + n + 2 * kStride, even - odd);
    store(to + n + 3 * kStride, near + far);
    store(to + n + 4 * kStride, near - far);
    store(to + n + 5 * kStride, 4.0f * d1 - 5.0f * d3 + d5);
  }
}

void transform_plane(const Channels<float>& source, const Task& task, int64_t i, float* lines, float* transformed) {
  for (int64_t c = 0; c < source.count; ++c) {
    load_lines(source.data[c], source.shape, task, i, lines);
    for (int64_t b = 0; b < task.blocks; ++b) {
      transform_lines(lines + b * kRows * kLine, task.span, transformed + c * kChannel + b * task.span);
    }
  }
}

// Compute four output lines from six lines of sums: A^T of the source, the bias, `start` and the leaky ReLU.
struct Finish {
  float bias, slope;
  const float* start[kRows];
  float* to[kRows];
};

template <bool Started>
[[gnu::always_inline]] inline void transform_vector(const float* sums, int64_t n, int64_t count, const Finish& finish) {
  const Vector s0 = load(sums + n), s1 = load(sums + n + kStride), s2 = load(sums + n + 2 * kStride),
               s3 = load(sums + n + 3 * kStride), s4 = load(sums + n + 4 * kStride), s5 = load(sums + n + 5 * kStride);
  const Vector plus = s1 + s2, minus = s1 - s2, far_plus = s3 + s4, far_minus = s3 - s4;
  Vector y[kRows] = {s0 + plus + far_plus, minus + 2.0f * far_minus, plus + 4.0f * far_plus,
                     minus + 8.0f * far_minus + s5};
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    y[r] += finish.bias;
    if (Started) y[r] += load_first(finish.start[r] + n, count);
    store_first(finish.to[r] + n, leaky_relu(y[r], finish.slope), count);
  }
}

template <bool Started>
void transform_sums(const float* sums, int64_t length, const Finish& finish) {
  int64_t n = 0;
  for (; n + lanes <= length; n += lanes) transform_vector<Started>(sums, n, lanes, finish);
  if (n < length) transform_vector<Started>(sums, n, length - n, finish);
}

// Write plane i of the output; `spare` takes the lines after the last row.
void write_plane(const float* sums, const Weights<float>& weights, const Task& task, int64_t i, ConstField start,
                 float* spare, Field out) {
  const bool started = start.shape[0] > 0;
  for (int64_t o = 0; o < weights.outputs; ++o) {
    for (int64_t b = 0; b < task.blocks; ++b) {
      Finish finish{weights.bias[o], weights.slope, {}, {}};
      for (int64_t r = 0; r < kRows; ++r) {
        const int64_t j = task.row + b * kRows + r;
        const bool inside = j < out.shape[2];
        finish.to[r] = inside ? out.at(o, i, j) + task.column : spare + r * kLine;
        finish.start[r] = started && inside ? start.at(o, i, j) + task.column : spare + r * kLine;
      }
      const float* from = sums + o * kChannel + b * task.span;
      (started ? transform_sums<true> : transform_sums<false>)(from, task.length, finish);
    }
  }
}

// Sum the products of the six transformed lines of plane i. Results in the margins between lines are not used.
void sum_plane(const Channels<float>& transformed, const Weights<float>& weights, const Task& task, int64_t i,
               float* sums) {
  static constexpr float zeros[kGroup] = {};
  const int64_t plane = transformed.count * kChannel, vectors = divide_up(task.blocks * task.span - 2, lanes);
  for (int64_t line = 0; line < kLines; ++line) {
    int64_t offsets[9];
    for (int64_t t = 0; t < 9; ++t) offsets[t] = (i + 2 + t / 3) % 3 * plane + line * kStride + t % 3;
    const Neighbours<float> from{transformed.data, transformed.count, offsets, 9};
    for (int64_t o = 0; o < weights.outputs; o += kGroup) {
      const int64_t left = weights.outputs - o;
      const int64_t each = 9 * transformed.count * (left > kHalfGroup ? kGroup : kHalfGroup);
      const float* weight = weights.weight + o * kLines * 9 * transformed.count + line * each;
      float* to = sums + o * kChannel + line * kStride;
      sum_group<Float32Arithmetic>(left, vectors, from, weight, zeros, [to](auto& tile, int first, int64_t at) {
        store_tile(tile, to + first * kChannel + at, kChannel);
      });
    }
  }
}

void convolve_task(const Channels<float>& source, const Weights<float>& weights, const Task& task, ConstField start,
                   Field out) {
  const int64_t plane = source.count * kChannel;
  Scratch<float> lines((kRows * kMaxBlocks + 2) * kLine), sums(padded_outputs(weights.outputs) * kChannel);
  Scratch<float> transformed(3 * plane + lanes);  // a ring of three planes
  Scratch<const float*> addresses(source.count);
  std::memset(transformed.get(), 0, (3 * plane + lanes) * sizeof(float));
  for (int64_t c = 0; c < source.count; ++c) addresses[c] = &transformed[c * kChannel];
  const Channels<float> ring{addresses.get(), source.count, {}};
  const auto transform = [&](int64_t i) {
    transform_plane(source, task, i, lines.get(), &transformed[(i + 3) % 3 * plane]);
  };
  transform(task.plane - 1);
  transform(task.plane);
  for (int64_t i = task.plane; i < task.plane + task.planes; ++i) {
    transform(i + 1);
    sum_plane(ring, weights, task, i, sums.get());
    write_plane(sums.get(), weights, task, i, start, lines.get(), out);
  }
}

}  // namespace

void convolve(const Channels<float>& source, const Weights<float>& weights, ConstField start, Field out) {
  const int64_t* shape = source.shape;
  const Tiling tiling = tile_grid(shape, thread_count());
  parallel_for(tiling.deep * tiling.down * tiling.across, [&](int64_t t) {
    const int64_t i = t / (tiling.down * tiling.across) * tiling.planes,
                  j = t / tiling.across % tiling.down * tiling.blocks * kRows, k = t % tiling.across * tiling.length;
    if (i >= shape[0] || j >= shape[1] || k >= shape[2]) return;
    const int64_t length = least(tiling.length, shape[2] - k);
    const int64_t blocks = least(tiling.blocks, divide_up(shape[1] - j, kRows));
    const Task task{i, j, k, least(tiling.planes, shape[0] - i), blocks, length, length + 2};
    convolve_task(source, weights, task, start, out);
  });
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
