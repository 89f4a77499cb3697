// The cells near a point whose images may contain another. For kernel files only: see base/dispatch.hpp.
//
// The image of a cell under y -> y + u(y) lies within the bounding box of those of its eight voxels.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/view.hpp"
#include "sampling/rows.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {

struct Index {
  int64_t z, y, x;
};

// All cells up to `reach` cells away from a centre along each axis; cell (z, y, x) begins at that voxel.
class NearbyCells {
 public:
  static constexpr int kReach = 8;

  NearbyCells(ConstField u, Index centre, const double (&target)[3], int reach) : u_(u), reach_(reach) {
    const int64_t middle[3] = {centre.z, centre.y, centre.x};
    for (int axis = 0; axis < 3; ++axis) {
      for (int n = 0; n <= 2 * reach + 1; ++n) {
        at_[axis][n] = middle[axis] - reach + n;
        inside_[axis][n] = most(least(at_[axis][n], u.shape[axis + 1] - 1), 0);
      }
    }
    std::memset(may_hold_, 1, sizeof may_hold_);
    for (int c = 0; c < 3; ++c) compare(c, target[c]);
  }

  // Return whether the cell at this offset from the centre may hold the target.
  bool may_hold(int z, int y, int x) const { return may_hold_[z + reach_][y + reach_][x + reach_]; }

 private:
  static constexpr int kCells = 2 * kReach + 1;

  struct Range {
    double low[kCells], high[kCells];
  };

  // The range of component c of the images of the voxels at both ends of each cell of a row of voxels.
  void along_row(int c, int z, int y, Range& range) const {
    const float* row = u_.at(c, inside_[0][z], inside_[1][y]);
    const int axis_index[2] = {z, y};
    double image[kCells + 1];
    for (int n = 0; n <= 2 * reach_ + 1; ++n) {
      const int64_t at = c == 2 ? at_[2][n] : at_[c][axis_index[c & 1]];
      image[n] = static_cast<double>(at) + static_cast<double>(row[inside_[2][n]]);
    }
    for (int n = 0; n <= 2 * reach_; ++n) {
      range.low[n] = image[n] < image[n + 1] ? image[n] : image[n + 1];
      range.high[n] = image[n] > image[n + 1] ? image[n] : image[n + 1];
    }
  }

  static void join(const Range& a, const Range& b, int count, Range& out) {
    for (int n = 0; n < count; ++n) {
      out.low[n] = a.low[n] < b.low[n] ? a.low[n] : b.low[n];
      out.high[n] = a.high[n] > b.high[n] ? a.high[n] : b.high[n];
    }
  }

  // Clear the marks of cells that do not hold the target along axis c.
  void compare(int c, double target) {
    const int cells = 2 * reach_ + 1;
    Range before[kCells], after[kCells], row[2], both;  // of the cells between two planes of voxels
    for (int z = 0; z <= cells; ++z) {
      along_row(c, z, 0, row[0]);
      for (int y = 0; y < cells; ++y) {
        along_row(c, z, y + 1, row[(y + 1) & 1]);
        join(row[0], row[1], cells, after[y]);
        if (z > 0) {
          join(before[y], after[y], cells, both);
          for (int x = 0; x < cells; ++x) may_hold_[z - 1][y][x] &= (both.low[x] <= target) & (target <= both.high[x]);
        }
        before[y] = after[y];
      }
    }
  }

  ConstField u_;
  int reach_;
  int64_t at_[3][kCells + 1], inside_[3][kCells + 1];
  uint8_t may_hold_[kCells][kCells][kCells];
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
