#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <tuple>

#include "python/arrays.hpp"
#include "python/bindings.hpp"
#include "refinement/correlation.hpp"
#include "refinement/explained.hpp"
#include "refinement/smooth.hpp"
#include "refinement/step.hpp"

namespace lightcrcf::python {
namespace {

using Sums = View<double, 2>;
using Weight = std::optional<ConstVolume>;

constexpr int64_t kLargestRadius = 1 << 16;

// Raise ValueError unless an array has these channels and the grid of a volume.
template <typename T>
void require_channels(const View<T, 4>& array, int64_t channels, const ConstVolume& volume) {
  require(array.shape[0] == channels, "an array has the wrong number of channels");
  for (int axis = 0; axis < 3; ++axis) require(array.shape[axis + 1] == volume.shape[axis], "arrays differ in shape");
}

ImagePair pair_of(const ConstVolume& fixed, const ConstVolume& moved, const Weight& weight, int64_t radius) {
  require_indexable(fixed);
  require_same_grid(fixed, moved);
  if (weight) require_same_grid(fixed, *weight);
  require(radius >= 0 && radius <= kLargestRadius, "a radius is negative or too large");
  return {fixed, moved, weight ? *weight : ConstVolume{nullptr, {}}, radius};
}

void require_sums(const Sums& sums, const ConstVolume& fixed) {
  require(sums.shape[0] == 3 && sums.shape[1] == fixed.shape[1], "sums need the shape (3, H)");
}

void require_apart(const void* out, const void* input) { require(out != input, "the result may not be an input"); }

void correlation_terms(ConstVolume fixed, ConstVolume moved, Weight weight, int64_t radius, float floor, float noise,
                       Field out, Sums sums) {
  const ImagePair images = pair_of(fixed, moved, weight, radius);
  require_channels(out, 3, fixed);
  require_sums(sums, fixed);
  lightcrcf::correlation_terms(images, CorrelationLimits{floor, noise}, out, sums);
}

void correlation_force(ConstVolume fixed, ConstVolume moved, Weight weight, int64_t radius, ConstField terms,
                       Field out) {
  const ImagePair images = pair_of(fixed, moved, weight, radius);
  require_channels(terms, 3, fixed);
  require_channels(out, 3, fixed);
  require_apart(out.data, terms.data);
  lightcrcf::correlation_force(images, terms, out);
}

void explained_basis(ConstVolume fixed, Weight weight, int64_t radius, float ridge, Field out) {
  const ImagePair images = pair_of(fixed, fixed, weight, radius);
  require_channels(out, 5, fixed);
  lightcrcf::explained_basis(images, ExplainedLimits{ridge, 0.0f}, out);
}

using Constants = std::tuple<float, float, float, float>;  // ridge, floor, noise of the fixed and of the moved image

void explained_terms(ConstVolume fixed, ConstVolume moved, Weight weight, int64_t radius, Constants constants,
                     ConstField basis, Field out, Sums sums) {
  const ImagePair images = pair_of(fixed, moved, weight, radius);
  require_channels(basis, 5, fixed);
  require_channels(out, 4, fixed);
  require_sums(sums, fixed);
  const auto [ridge, floor, of_fixed, of_moved] = constants;
  lightcrcf::explained_terms(images, ExplainedLimits{ridge, floor, {of_fixed, of_moved}}, basis, out, sums);
}

void explained_force(ConstVolume fixed, ConstVolume moved, Weight weight, int64_t radius, ConstField terms, Field out) {
  const ImagePair images = pair_of(fixed, moved, weight, radius);
  require_channels(terms, 4, fixed);
  require_channels(out, 3, fixed);
  lightcrcf::explained_force(images, terms, out);
}

void smooth(ConstField values, View<const float, 2> taps, Field out) {
  require_indexable(values);
  require_same_grid(values, out);
  require(taps.shape[0] == 3 && taps.shape[1] >= 1, "taps need the shape (3, R + 1)");
  require(taps.shape[1] <= kLargestRadius, "a radius is too large");
  require_apart(out.data, values.data);
  lightcrcf::smooth(values, taps, out);
}

void accumulate(Field total, float keep, ConstField addend, float scale) {
  require_same_grid(total, addend);
  lightcrcf::accumulate(total, keep, addend, scale);
}

void compose_step(ConstField field, ConstField step, float scale, float longest, Field out) {
  require(field.shape[0] == 3, "a displacement needs three channels");
  require_indexable(field);
  require_same_grid(field, step);
  require_same_grid(field, out);
  require(longest > 0 && longest <= 1, "a step is at most one voxel long");
  require_apart(out.data, field.data);
  require_apart(out.data, step.data);
  lightcrcf::compose_step(field, Step{step, scale, longest}, out);
}

void limit_lengths(Field vectors, float scale, float longest) {
  require(vectors.shape[0] == 3, "vectors need three channels");
  require(longest > 0, "a limit of lengths is above 0");
  lightcrcf::limit_lengths(vectors, scale, longest);
}

}  // namespace

void bind_refinement(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.def("correlation_terms", &correlation_terms, "fixed"_a, "moved"_a, "weight"_a.none(), "radius"_a, "floor"_a,
             "noise"_a, "out"_a, "sums"_a, unlocked);
  module.def("correlation_force", &correlation_force, "fixed"_a, "moved"_a, "weight"_a.none(), "radius"_a, "terms"_a,
             "out"_a, unlocked);
  module.def("explained_basis", &explained_basis, "fixed"_a, "weight"_a.none(), "radius"_a, "ridge"_a, "out"_a,
             unlocked);
  module.def("explained_terms", &explained_terms, "fixed"_a, "moved"_a, "weight"_a.none(), "radius"_a, "constants"_a,
             "basis"_a, "out"_a, "sums"_a, unlocked);
  module.def("explained_force", &explained_force, "fixed"_a, "moved"_a, "weight"_a.none(), "radius"_a, "terms"_a,
             "out"_a, unlocked);
  module.def("smooth", &smooth, "values"_a, "taps"_a, "out"_a, unlocked);
  module.def("accumulate", &accumulate, "total"_a, "keep"_a, "addend"_a, "scale"_a, unlocked);
  module.def("limit_lengths", &limit_lengths, "vectors"_a, "scale"_a, "longest"_a, unlocked);
  module.def("compose_step", &compose_step, "field"_a, "step"_a, "scale"_a, "longest"_a, "out"_a, unlocked);
}

}  // namespace lightcrcf::python
