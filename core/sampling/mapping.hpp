// A map between grids: an affine and a displacement field.
#pragma once

#include "base/view.hpp"

namespace lightcrcf {

// Voxel x of a grid goes to matrix @ [x, 1] + vector_matrix @ field(field_matrix @ [x, 1]).
struct Mapping {
  const double* matrix;        // (3, 4)
  const double* field_matrix;  // (3, 4)
  const float* vector_matrix;  // (3, 3)
  ConstField field;            // (3, d, h, w), trilinear, zero outside; without data: no displacement
};

}  // namespace lightcrcf
