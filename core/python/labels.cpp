#include <nanobind/stl/array.h>

#include <algorithm>

#include "labels/fractions.hpp"
#include "labels/fusion.hpp"
#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {
namespace {

constexpr int64_t kMostAtlases = 256, kMostRadius = 64;  // each thread has tables of atlases^2 x diameter
constexpr int64_t kMostLabels = 32768;  // labels are int16

using Radii = std::array<int64_t, 3>;
using Places = View<const int32_t, 3>;

void label_fractions(View<const int32_t, 3> labels, Field out) {
  require_indexable(labels);
  require_indexable(out);
  for (int axis = 0; axis < 3; ++axis) {
    require(labels.shape[axis] % out.shape[axis + 1] == 0, "blocks do not fill the labels");
  }
  require_apart(out, labels);
  lightcrcf::label_fractions(labels, out);
}

// Raise ValueError unless N atlases, weights (rows, N) and places (D, H, W) fit each other.
template <typename T, typename U>
void require_atlases(int64_t atlases, const View<T, 4>& images, const Places& places, const View<U, 2>& weights) {
  require(atlases >= 1, "fusion needs an atlas");
  require_indexable(images);
  require(weights.shape[1] == atlases, "weights need a column for each atlas");
  for (int axis = 0; axis < 3; ++axis) require(images.shape[axis + 1] == places.shape[axis], "arrays differ in shape");
}

void atlas_weights(ConstField images, Places places, Radii radii, bool joint, View<float, 2> out) {
  require_atlases(images.shape[0] - 1, images, places, out);
  require(out.shape[1] <= kMostAtlases, "local weights are for at most 256 atlases");
  require_apart(out, images);
  require_apart(out, places);
  for (int axis = 0; axis < 3; ++axis) {
    require(radii[axis] >= 0 && radii[axis] <= kMostRadius, "radii must be 0 to 64 voxels");
    radii[axis] = std::min(radii[axis], images.shape[axis + 1] - 1);
  }
  const bool valid = lightcrcf::atlas_weights(images, places, PatchRadii{radii[0], radii[1], radii[2]}, joint, out);
  require(valid, "places must be rows of the result");
}

void vote(View<const int16_t, 4> labels, Places places, View<const float, 2> weights,
          View<const float, 1> neighbour_weights, int64_t labels_end, View<int16_t, 3> found, Volume share) {
  require_atlases(labels.shape[0], labels, places, weights);
  require(neighbour_weights.shape[0] == 3, "neighbour weights are needed for three axes");
  require(labels_end >= 1 && labels_end <= kMostLabels, "the number of labels must be 1 to 32768");
  require_same_grid(places, found);
  require_same_grid(places, share);
  require_apart(found, labels);
  require_apart(found, places);
  require_apart(found, weights);
  require_apart(share, labels);
  require_apart(share, places);
  require_apart(share, weights);
  require_apart(share, found);
  const Votes votes{labels, places, weights, neighbour_weights, labels_end};
  require(lightcrcf::vote(votes, found, share), "labels must be below their number, and places rows of the weights");
}

}  // namespace

void bind_labels(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.def("label_fractions", &label_fractions, "labels"_a, "out"_a, unlocked);
  module.def("atlas_weights", &atlas_weights, "images"_a, "places"_a, "radii"_a, "joint"_a, "out"_a, unlocked);
  module.def("vote", &vote, "labels"_a, "places"_a, "weights"_a, "neighbour_weights"_a, "labels_end"_a, "found"_a,
             "share"_a, unlocked);
}

}  // namespace lightcrcf::python
