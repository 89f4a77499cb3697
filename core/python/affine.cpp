#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {

void bind_affine(nb::module_&) {}

}  // namespace lightcrcf::python
