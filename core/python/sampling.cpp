#include <nanobind/stl/optional.h>

#include <algorithm>

#include "python/arrays.hpp"
#include "python/bindings.hpp"
#include "sampling/resample.hpp"
#include "sampling/upsample.hpp"
#include "sampling/warp.hpp"

namespace lightcrcf::python {
namespace {

using Matrix = View<const double, 2>;

void require_displacement(const ConstField& displacement) {
  require(displacement.shape[0] == 3, "a displacement needs three channels");
}

void require_half_grid(const ConstField& coarse, const ConstField& fine) {
  require_displacement(coarse);
  require_indexable(coarse);
  require_indexable(fine);
  for (int axis = 1; axis < 4; ++axis) {
    require((fine.shape[axis] + 1) / 2 <= coarse.shape[axis], "the fine grid is more than twice the coarse one");
  }
}

void warp(ConstField features, ConstField displacement, Field out) {
  require_displacement(displacement);
  require_indexable(features);
  require_same_grid(features, ConstField(out));
  require_same_grid(features, displacement, 1);
  require_apart(out, features);
  require_apart(out, displacement);
  lightcrcf::warp(features, displacement, out);
}

void warp_upsampled(ConstField features, ConstField coarse, Field out) {
  require_half_grid(coarse, features);
  require_same_grid(features, ConstField(out));
  require_apart(out, features);
  require_apart(out, coarse);
  lightcrcf::warp_upsampled(features, coarse, out);
}

void compose(ConstField u, ConstField v, Field out) {
  require_displacement(u);
  require_indexable(u);
  require_same_grid(u, v);
  require_same_grid(u, ConstField(out));
  require_apart(out, u);
  require_apart(out, v);
  lightcrcf::compose(u, v, out);
}

void upsample(ConstField coarse, Field out) {
  require_displacement(out);
  require_half_grid(coarse, out);
  require_apart(out, coarse);
  lightcrcf::upsample(coarse, out);
}

// The mapping of the arguments of Python.
Mapping mapping_of(const Matrix& matrix, const Matrix& field_matrix, const View<const float, 2>& vector_matrix,
                   const std::optional<ConstField>& field) {
  require(matrix.shape[0] == 3 && matrix.shape[1] == 4, "matrix must be (3, 4)");
  require(field_matrix.shape[0] == 3 && field_matrix.shape[1] == 4, "field_matrix must be (3, 4)");
  require(vector_matrix.shape[0] == 3 && vector_matrix.shape[1] == 3, "vector_matrix must be (3, 3)");
  if (field) {
    require_displacement(*field);
    require_indexable(*field);
  }
  Mapping mapping{{}, {}, {}, field.value_or(ConstField{nullptr, {}})};
  std::copy_n(matrix.data, 12, mapping.matrix);
  std::copy_n(field_matrix.data, 12, mapping.field_matrix);
  std::copy_n(vector_matrix.data, 9, mapping.vector_matrix);
  return mapping;
}

// Define resample(moving, matrix, field_matrix, vector_matrix, field, fill, out) by a kernel for values of type T.
template <typename T, typename Kernel>
void define_resample(nb::module_& module, const char* name, const Kernel& kernel) {
  using namespace nb::literals;
  const auto resample = [&kernel](View<const T, 3> moving, Matrix matrix, Matrix field_matrix,
                                  View<const float, 2> vector_matrix, std::optional<ConstField> field, T fill,
                                  View<T, 3> out) {
    const Mapping mapping = mapping_of(matrix, field_matrix, vector_matrix, field);
    require_indexable(moving);
    require_indexable(out);
    require_apart(out, moving);
    if (field) require_apart(out, *field);
    nb::gil_scoped_release unlocked;
    kernel(moving, mapping, fill, out);
  };
  module.def(name, resample, "moving"_a, "matrix"_a, "field_matrix"_a, "vector_matrix"_a, "field"_a.none(), "fill"_a,
             "out"_a);
}

}  // namespace

void bind_sampling(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.def("warp", &warp, "features"_a, "displacement"_a, "out"_a, unlocked);
  module.def("warp_upsampled", &warp_upsampled, "features"_a, "coarse"_a, "out"_a, unlocked);
  module.def("compose", &compose, "u"_a, "v"_a, "out"_a, unlocked);
  module.def("upsample", &upsample, "coarse"_a, "out"_a, unlocked);
  define_resample<float>(module, "resample_linear", resample_linear);
  define_resample<float>(module, "resample_cubic", resample_cubic);
  define_resample<uint8_t>(module, "resample_nearest", resample_nearest8);
  define_resample<uint16_t>(module, "resample_nearest", resample_nearest16);
  define_resample<uint32_t>(module, "resample_nearest", resample_nearest32);
  define_resample<uint64_t>(module, "resample_nearest", resample_nearest64);
}

}  // namespace lightcrcf::python
