#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <vector>

#include "network/bfloat16.hpp"
#include "network/features.hpp"
#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {
namespace {

using Shape = std::array<int64_t, 3>;
using Data = View<int32_t, 1>;
using ConstData = View<const int32_t, 1>;

const int64_t (&triple(const Shape& values))[3] { return *reinterpret_cast<const int64_t(*)[3]>(values.data()); }

// Return the pairs that an array of its own size holds; at least `pairs`.
template <typename T>
Pairs<T> pairs_of(const View<T, 1>& data, const Shape& shape, int64_t pairs) {
  Pairs<T> found{data.data, pairs, {shape[0], shape[1], shape[2]}};
  for (const int64_t size : shape) require(size > 0 && size < (int64_t{1} << 20), "a grid has no such size");
  require(found.size() < std::numeric_limits<int32_t>::max(), "an array has 2^31 voxels or more");
  require(pairs > 0 && pairs < (1 << 16) && data.shape[0] >= pairs * found.size() + found.kSlack,
          "an array is too small for its pairs");
  return found;
}

void require_available() {
  if (!lightcrcf::pack_bfloat16.available()) throw std::runtime_error("this processor has no AVX512-BF16");
}

void require_pool(const Shape& pool) {
  for (const int64_t factor : pool) require(factor == 1 || factor == 2, "factors are 1 or 2");
}

void require_factors(const Shape& fine, const Shape& pool, const Shape& coarse) {
  require_pool(pool);
  for (int axis = 0; axis < 3; ++axis) {
    require(fine[axis] == pool[axis] * coarse[axis], "arrays differ in shape");
  }
}

template <typename T, int Rank>
Shape grid_of(const View<T, Rank>& view, int first = Rank - 3) {
  return {view.shape[first], view.shape[first + 1], view.shape[first + 2]};
}

// The first pairs of several features on one grid.
struct Joined {
  Joined(const std::vector<ConstData>& sources, const std::vector<int64_t>& pairs, const Shape& shape) {
    require(!sources.empty() && sources.size() == pairs.size(), "a number of pairs for each source");
    for (size_t n = 0; n < sources.size(); ++n) {
      const Pairs<const int32_t> source = pairs_of(sources[n], shape, pairs[n]);
      for (int64_t p = 0; p < pairs[n]; ++p) addresses.push_back(source.data + p * source.size());
    }
    channels = {addresses.data(), static_cast<int64_t>(addresses.size()), {shape[0], shape[1], shape[2]}};
  }
  std::vector<const int32_t*> addresses;
  Channels<int32_t> channels;
};

Weights<int32_t> checked_weights(const ConstData& weight, const View<const float, 1>& bias, float slope,
                                 const Joined& joined, int64_t outputs) {
  require(outputs > 0 && bias.shape[0] == padded_outputs(outputs), "biases do not fit the outputs");
  require(weight.shape[0] == bias.shape[0] * joined.channels.count * 27, "weights do not fit the channels");
  return {weight.data, bias.data, slope, outputs};
}

void convolve(const std::vector<ConstData>& sources, const std::vector<int64_t>& pairs, const Shape& shape,
              ConstData weight, View<const float, 1> bias, float slope, int64_t outputs, const Shape& stride, Data out) {
  require_available();
  const Joined joined(sources, pairs, shape);
  const Weights<int32_t> weights = checked_weights(weight, bias, slope, joined, outputs);
  require_pool(stride);
  Shape coarse{};
  for (int axis = 0; axis < 3; ++axis) coarse[axis] = (shape[axis] + stride[axis] - 1) / stride[axis];
  const Pairs<int32_t> target = pairs_of(out, coarse, padded_outputs(outputs) / 2);
  for (const ConstData& source : sources) require(source.data != out.data, "the result may not be an input");
  if (stride == Shape{1, 1, 1}) {
    lightcrcf::convolve_bfloat16(joined.channels, weights, target);
  } else {
    lightcrcf::convolve_strided_bfloat16(joined.channels, weights, triple(stride), target);
  }
}

void convolve_flow(const std::vector<ConstData>& sources, const std::vector<int64_t>& pairs, ConstData weight,
                   View<const float, 1> bias, Field out) {
  require_available();
  require_indexable(out);
  require(out.shape[0] <= kHalfGroup, "at most four channels");
  const Joined joined(sources, pairs, grid_of(out));
  lightcrcf::convolve_flow_bfloat16(joined.channels, checked_weights(weight, bias, 1.0f, joined, out.shape[0]), out);
}

void space_to_depth(ConstVolume image, const Shape& pool, Data out) {
  require_available();
  require_indexable(image);
  require_pool(pool);
  const Shape shape{image.shape[0] / pool[0], image.shape[1] / pool[1], image.shape[2] / pool[2]};
  require_factors(grid_of(image), pool, shape);
  lightcrcf::space_to_depth_bfloat16(image, triple(pool),
                                     pairs_of(out, shape, (pool[0] * pool[1] * pool[2] + 1) / 2));
}

void pack(ConstField values, Data out) {
  require_available();
  require_indexable(values);
  lightcrcf::pack_bfloat16(values, pairs_of(out, grid_of(values), (values.shape[0] + 1) / 2));
}

void repeat(ConstData features, const Shape& shape, int64_t pairs, const Shape& pool, Data out) {
  require_available();
  require_pool(pool);
  const Shape fine{shape[0] * pool[0], shape[1] * pool[1], shape[2] * pool[2]};
  require_factors(fine, pool, shape);
  lightcrcf::repeat_bfloat16(pairs_of(features, shape, pairs), triple(pool), pairs_of(out, fine, pairs));
}

void correlate(ConstData fixed, ConstData warped, const Shape& shape, int64_t channels, Data out) {
  require_available();
  require(channels > 0 && channels < (1 << 16), "correlations need channels");
  const int64_t pairs = (channels + 1) / 2;
  lightcrcf::correlate_bfloat16(pairs_of(fixed, shape, pairs), pairs_of(warped, shape, pairs), channels,
                                pairs_of(out, shape, 14));
}

template <typename T>
void require_blocks(const View<T, 5>& blocks, int64_t pairs) {
  require_indexable(blocks[0]);
  require(blocks.shape[0] == (pairs + 3) / 4 && blocks.shape[4] == 4, "blocks of four pairs for all features");
}

void to_channels_last(ConstData features, int64_t pairs, View<int32_t, 5> out) {
  require_available();
  require_blocks(out, pairs);
  lightcrcf::to_channels_last_bfloat16(pairs_of(features, grid_of(out, 1), pairs), out);
}

void warp_channels_last(View<const int32_t, 5> features, ConstField displacement, int64_t pairs, Data out) {
  require_available();
  require_blocks(features, pairs);
  require(displacement.shape[0] == 3, "a displacement needs three channels");
  require(grid_of(displacement) == grid_of(features, 1), "arrays differ in shape");
  require_indexable(displacement);
  lightcrcf::warp_channels_last_bfloat16(features, displacement, pairs_of(out, grid_of(displacement), pairs));
}

}  // namespace

void bind_bfloat16(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.attr("BFLOAT16_SLACK") = Pairs<int32_t>::kSlack;
  module.attr("BFLOAT16_LEAST_ROW") = Pairs<int32_t>::kLeastRow;
  module.def("has_bfloat16", [] { return lightcrcf::pack_bfloat16.available(); },
             "Return whether this processor has AVX512-BF16.");
  module.def("convolve_bfloat16", &convolve, "sources"_a, "pairs"_a, "shape"_a, "weight"_a, "bias"_a, "slope"_a,
             "outputs"_a, "stride"_a, "out"_a, unlocked);
  module.def("convolve_flow_bfloat16", &convolve_flow, "sources"_a, "pairs"_a, "weight"_a, "bias"_a, "out"_a, unlocked);
  module.def("space_to_depth_bfloat16", &space_to_depth, "image"_a, "pool"_a, "out"_a, unlocked);
  module.def("pack_bfloat16", &pack, "values"_a, "out"_a, unlocked);
  module.def("repeat_bfloat16", &repeat, "features"_a, "shape"_a, "pairs"_a, "pool"_a, "out"_a, unlocked);
  module.def("correlate_bfloat16", &correlate, "fixed"_a, "warped"_a, "shape"_a, "channels"_a, "out"_a, unlocked);
  module.def("to_channels_last_bfloat16", &to_channels_last, "features"_a, "pairs"_a, "out"_a, unlocked);
  module.def("warp_channels_last_bfloat16", &warp_channels_last, "features"_a, "displacement"_a, "pairs"_a, "out"_a,
             unlocked);
}

}  // namespace lightcrcf::python
