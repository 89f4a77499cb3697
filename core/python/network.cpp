#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <vector>

#include "network/convolution.hpp"
#include "network/features.hpp"
#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {
namespace {

using Pool = std::array<int64_t, 3>;
using Sources = std::vector<ConstField>;

// The channels of all sources, which are on one grid.
struct Joined {
  explicit Joined(const Sources& sources) {
    require(!sources.empty(), "a convolution needs sources");
    for (const ConstField& source : sources) {
      require_indexable(source);
      require_same_grid(source, sources[0], 1);
      for (int64_t c = 0; c < source.shape[0]; ++c) addresses.push_back(source.at(c));
    }
    channels = {addresses.data(), static_cast<int64_t>(addresses.size()), {}};
    for (int axis = 0; axis < 3; ++axis) channels.shape[axis] = sources[0].shape[axis + 1];
  }
  std::vector<const float*> addresses;
  Channels<float> channels;
};

Weights<float> checked_weights(View<const float, 1> weight, View<const float, 1> bias, float slope, int64_t inputs,
                               int64_t taps, int64_t outputs) {
  require(outputs > 0 && bias.shape[0] == padded_outputs(outputs), "biases do not fit the outputs");
  require(weight.shape[0] == bias.shape[0] * inputs * taps, "weights do not fit the channels");
  return {weight.data, bias.data, slope, outputs};
}

void require_pool(const Pool& pool) {
  for (const int64_t factor : pool) require(factor == 1 || factor == 2, "factors are 1 or 2");
}

// Raise ValueError unless `fine` is `coarse` times the factors, in its last three axes.
template <typename A, int RankA, typename B, int RankB>
void require_factors(const View<A, RankA>& fine, const Pool& pool, const View<B, RankB>& coarse) {
  require_pool(pool);
  require_indexable(fine);
  require_indexable(coarse);
  for (int axis = 0; axis < 3; ++axis) {
    require(fine.shape[RankA - 3 + axis] == pool[axis] * coarse.shape[RankB - 3 + axis], "arrays differ in shape");
  }
}

const int64_t (&factors(const Pool& pool))[3] { return *reinterpret_cast<const int64_t(*)[3]>(pool.data()); }

void convolve(const Sources& sources, View<const float, 1> weight, View<const float, 1> bias, float slope,
              ConstField start, Field out) {
  const Joined joined(sources);
  require_same_grid(sources[0], ConstField(out), 1);
  if (start.shape[0] > 0) require_same_grid(start, ConstField(out));
  require(start.shape[0] == 0 || start.data != out.data, "the result may not be an input");
  for (const ConstField& source : sources) require(source.data != out.data, "the result may not be an input");
  lightcrcf::convolve(joined.channels,
                      checked_weights(weight, bias, slope, joined.channels.count, 54, out.shape[0]), start, out);
}

void convolve_strided(const Sources& sources, View<const float, 1> weight, View<const float, 1> bias, float slope,
                      const Pool& stride, Field out) {
  const Joined joined(sources);
  require_pool(stride);
  require_indexable(out);
  for (int axis = 0; axis < 3; ++axis) {
    require(out.shape[axis + 1] == (joined.channels.shape[axis] + stride[axis] - 1) / stride[axis],
            "arrays differ in shape");
  }
  for (const ConstField& source : sources) require(source.data != out.data, "the result may not be an input");
  lightcrcf::convolve_strided(joined.channels,
                              checked_weights(weight, bias, slope, joined.channels.count, 27, out.shape[0]),
                              factors(stride), out);
}

void space_to_depth(ConstVolume image, const Pool& pool, Field out) {
  require_factors(image, pool, out);
  require(out.shape[0] == pool[0] * pool[1] * pool[2], "one channel for each voxel of a block");
  lightcrcf::space_to_depth(image, factors(pool), out);
}

void depth_to_space(ConstField blocks, const Pool& pool, Volume out) {
  require_factors(out, pool, blocks);
  require(blocks.shape[0] == pool[0] * pool[1] * pool[2], "one channel for each voxel of a block");
  lightcrcf::depth_to_space(blocks, factors(pool), out);
}

void average_pool(ConstVolume image, const Pool& pool, Volume out) {
  require_factors(image, pool, out);
  lightcrcf::average_pool(image, factors(pool), out);
}

void repeat(ConstField features, const Pool& pool, Field out) {
  require_factors(out, pool, features);
  require(features.shape[0] == out.shape[0], "arrays differ in channels");
  lightcrcf::repeat(features, factors(pool), out);
}

void correlate(ConstField fixed, ConstField warped, Field out) {
  require_indexable(fixed);
  require_same_grid(fixed, warped);
  require_same_grid(fixed, ConstField(out), 1);
  require(fixed.shape[0] > 0 && out.shape[0] == 27, "27 channels of correlations");
  lightcrcf::correlate(fixed, warped, out);
}

// Raise ValueError unless `blocks` can hold `features` in channels-last layout.
template <typename T>
void require_blocks(const View<T, 5>& blocks, const ConstField& features) {
  require_indexable(features);
  require(blocks.shape[0] == (features.shape[0] + kBlock - 1) / kBlock && blocks.shape[4] == kBlock,
          "blocks of eight channels for all features");
  for (int axis = 1; axis < 4; ++axis) require(blocks.shape[axis] == features.shape[axis], "arrays differ in shape");
}

void to_channels_last(ConstField features, View<float, 5> out) {
  require_blocks(out, features);
  lightcrcf::to_channels_last(features, out);
}

void warp_channels_last(View<const float, 5> features, ConstField displacement, Field out) {
  require_blocks(features, out);
  require(displacement.shape[0] == 3, "a displacement needs three channels");
  require_same_grid(displacement, ConstField(out), 1);
  lightcrcf::warp_channels_last(features, displacement, out);
}

}  // namespace

void bind_network(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.def("convolve", &convolve, "sources"_a, "weight"_a, "bias"_a, "slope"_a, "start"_a, "out"_a, unlocked);
  module.def("convolve_strided", &convolve_strided, "sources"_a, "weight"_a, "bias"_a, "slope"_a, "stride"_a, "out"_a,
             unlocked);
  module.def("space_to_depth", &space_to_depth, "image"_a, "pool"_a, "out"_a, unlocked);
  module.def("depth_to_space", &depth_to_space, "blocks"_a, "pool"_a, "out"_a, unlocked);
  module.def("average_pool", &average_pool, "image"_a, "pool"_a, "out"_a, unlocked);
  module.def("repeat", &repeat, "features"_a, "pool"_a, "out"_a, unlocked);
  module.def("correlate", &correlate, "fixed"_a, "warped"_a, "out"_a, unlocked);
  module.def("to_channels_last", &to_channels_last, "features"_a, "out"_a, unlocked);
  module.def("warp_channels_last", &warp_channels_last, "features"_a, "displacement"_a, "out"_a, unlocked);
}

}  // namespace lightcrcf::python
