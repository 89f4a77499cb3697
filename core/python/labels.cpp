#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {

void bind_labels(nb::module_&) {}

}  // namespace lightcrcf::python
