// Rows of points of a mapping. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>

#include "base/scratch.hpp"
#include "base/view.hpp"
#include "sampling/cells.hpp"
#include "sampling/lines.hpp"
#include "sampling/mapping.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

// The points of one row after another, with scratch for both.
class MappedRows {
 public:
  MappedRows(const Mapping& mapping, int64_t width)
      : mapping_(mapping), width_(width), floats_(10 * width + mapping.field.shape[3] + 2), corner_(width) {
    const double* along = mapping.field_matrix;
    // A row runs along one line of the field, for instance between grids of full and half resolution.
    const double aside = __builtin_fabs(along[2]) + __builtin_fabs(along[6]);
    straight_ = aside * static_cast<double>(width) < 1e-6;  // voxels
  }

  // The points of the last row; and its cells, for use by the caller.
  float* points(int axis) const { return &floats_[axis * width_]; }
  Cells cells() const { return {corner_.get(), &floats_[3 * width_], &floats_[4 * width_], &floats_[5 * width_]}; }

  // Find the points of row (i, j).
  void find(int64_t i, int64_t j) const {
    affine_row(mapping_.matrix, i, j, width_, {points(0), points(1), points(2)});
    if (mapping_.field.data == nullptr) return;
    affine_row(mapping_.field_matrix, i, j, width_, {field_point(0), field_point(1), field_point(2)});
    if (!straight_) {
      displace();
    } else if (is_inside(field_grid().shape, field_point(0)[0], field_point(1)[0], 0.0f)) {
      displace_along();
    }
  }

 private:
  float* field_point(int axis) const { return &floats_[(6 + axis) * width_]; }
  float* vector() const { return &floats_[9 * width_]; }
  ConstVolume field_grid() const { return mapping_.field[0]; }

  void displace() const {
    const float *z = field_point(0), *y = field_point(1), *x = field_point(2);
    find_cells(field_grid().shape, z, y, x, width_, cells());
    for (int c = 0; c < 3; ++c) {
      interpolate_row(mapping_.field[c], cells(), width_, vector());
      fill_outside(field_grid().shape, z, y, x, width_, 0.0f, vector());
      add_vectors(c);
    }
  }

  void displace_along() const {
    const int64_t width = field_grid().shape[2];
    const float z = field_point(0)[0], y = field_point(1)[0], *x = field_point(2);
    // Two voxels of the row are a quarter of a voxel left and right of each voxel of the line.
    const bool doubled = mapping_.field_matrix[10] == 0.5 && x[0] == -kFar && width_ <= 2 * width;
    float *line = &floats_[10 * width_ + 1], *fraction = cells().x;
    if (!doubled) find_along(width, x, width_, corner_.get(), fraction);
    for (int c = 0; c < 3; ++c) {
      bilinear_line(mapping_.field[c], z, y, line);
      if (doubled) {
        extend_line(line, width);
        double_line(line, width_, vector());
      } else {
        linear_row(line, width, x, corner_.get(), fraction, width_, vector());
      }
      add_vectors(c);
    }
  }

  // Add the contribution of component c of the field, in `vector`, to each coordinate.
  void add_vectors(int c) const {
    const float* __restrict from = vector();
    for (int axis = 0; axis < 3; ++axis) {
      const float weight = mapping_.vector_matrix[3 * axis + c];
      if (weight == 0.0f) continue;
      float* __restrict to = points(axis);
      for (int64_t k = 0; k < width_; ++k) to[k] += weight * from[k];
    }
  }

  const Mapping& mapping_;
  int64_t width_;
  bool straight_;
  Scratch<float> floats_;  // points, positions in cells, points in the field (3 W each), vectors (W), a line (w + 2)
  Scratch<int32_t> corner_;
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
