// A map between grids: an affine and a displacement field.
#pragma once

#include "base/view.hpp"

namespace lightcrcf {

// Voxel x of a grid goes to matrix @ [x, 1] + vector_matrix @ field(field_matrix @ [x, 1]).
struct Mapping {
  double matrix[12];       // (3, 4)
  double field_matrix[12]; // (3, 4)
  float vector_matrix[9];  // (3, 3)
  ConstField field;        // (3, d, h, w), trilinear, zero outside; without data: no displacement
};

}  // namespace lightcrcf
