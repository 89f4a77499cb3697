// The parts of the extension module, one a file.
#pragma once

#include <nanobind/nanobind.h>

namespace lightcrcf::python {

void bind_sampling(nanobind::module_& module);
void bind_fields(nanobind::module_& module);
void bind_refinement(nanobind::module_& module);
void bind_affine(nanobind::module_& module);
void bind_registration_affine(nanobind::module_& module);
void bind_labels(nanobind::module_& module);
void bind_network(nanobind::module_& module);
void bind_registration(nanobind::module_& module);
void bind_bfloat16(nanobind::module_& module);

}  // namespace lightcrcf::python
