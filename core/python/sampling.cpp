#include "sampling/warp.hpp"

#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {
namespace {

void warp(ConstField features, ConstField displacement, Field out) {
  require(displacement.shape[0] == 3, "a displacement needs three channels");
  require_indexable(features);
  require_same_grid(features, out);
  require_same_grid(features, displacement, 1);
  lightcrcf::warp(features, displacement, out);
}

void compose(ConstField u, ConstField v, Field out) {
  require(u.shape[0] == 3, "a displacement needs three channels");
  require_indexable(u);
  require_same_grid(u, v);
  require_same_grid(u, out);
  require(out.data != u.data && out.data != v.data, "the result may not be an input");
  lightcrcf::compose(u, v, out);
}

}  // namespace

void bind_sampling(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.def("warp", &warp, "features"_a, "displacement"_a, "out"_a, unlocked);
  module.def("compose", &compose, "u"_a, "v"_a, "out"_a, unlocked);
}

}  // namespace lightcrcf::python
