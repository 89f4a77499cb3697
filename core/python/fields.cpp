#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {

void bind_fields(nb::module_&) {}

}  // namespace lightcrcf::python
