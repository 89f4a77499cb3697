// The extension module lightcrcf._core.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "base/cpu.hpp"
#include "base/parallel.hpp"
#include "python/bindings.hpp"

namespace nb = nanobind;

namespace {

using lightcrcf::Isa;

const char* isa_name() { return lightcrcf::isa_name(lightcrcf::isa()); }

void limit_isa(const std::string& name) {
  for (Isa level : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512bf16}) {
    if (name == lightcrcf::isa_name(level)) return lightcrcf::limit_isa(level);
  }
  throw nb::value_error("no such instruction set");
}

}  // namespace

NB_MODULE(_core, module) {
  module.doc() = "Compiled kernels. For use by lightcrcf only: arrays are checked, and never copied or converted.";
  module.def("isa", &isa_name, "Return the instruction set of the kernels in use.");
  module.def("limit_isa", &limit_isa, nb::arg("name"), "Limit kernels to an instruction set, for tests.");
  module.def("usable_cores", &lightcrcf::usable_cores, "Return the number of cores that this process may use.");
  module.def("thread_count", &lightcrcf::thread_count, "Return the number of threads of kernels called from this thread.");
  module.def("set_thread_count", &lightcrcf::set_thread_count, nb::arg("count"),
             "Set the number of threads of kernels called from this thread; 0 for all usable cores, or OMP_NUM_THREADS of them.");
  lightcrcf::python::bind_sampling(module);
  lightcrcf::python::bind_fields(module);
  lightcrcf::python::bind_refinement(module);
  lightcrcf::python::bind_affine(module);
  lightcrcf::python::bind_registration_affine(module);
  lightcrcf::python::bind_labels(module);
  lightcrcf::python::bind_network(module);
  lightcrcf::python::bind_registration(module);
  lightcrcf::python::bind_bfloat16(module);
}
