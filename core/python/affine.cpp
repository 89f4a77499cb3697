#include <nanobind/stl/array.h>

#include <algorithm>

#include "affine/block_mean.hpp"
#include "affine/correlation.hpp"
#include "affine/histogram.hpp"
#include "affine/normal_equations.hpp"
#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {
namespace {

constexpr int64_t kMostBins = 128;  // each slab of `joint_histogram` has tables of bins^2

using Factors = std::array<int64_t, 3>;
using Table = View<double, 2>;

// Return the images of an alignment, checked.
Alignment alignment(ConstVolume fixed, ConstVolume weight, ConstVolume moving, ConstVolume valid, bool blank_outside) {
  require_indexable(fixed);
  require_indexable(moving);
  require_same_grid(fixed, weight);
  require_same_grid(moving, valid);
  return {fixed, weight, moving, valid, blank_outside};
}

template <typename T>
void require_affine(const View<T, 2>& matrix) {
  require(matrix.shape[0] == 3 && matrix.shape[1] == 4, "a matrix needs the shape (3, 4)");
}

void require_gram(Table out) { require(out.shape[0] == 15 && out.shape[1] == 15, "the result needs the shape (15, 15)"); }

template <typename T>
void require_bins(const View<T, 2>& table) {
  require(table.shape[0] == table.shape[1], "a table needs as many rows as columns");
  require(table.shape[0] >= 2 && table.shape[0] <= kMostBins, "a table needs 2 to 128 bins");
}

void block_mean(ConstVolume data, Factors factors, Volume out) {
  require_indexable(data);
  for (int axis = 0; axis < 3; ++axis) {
    require(factors[axis] >= 1, "factors must be at least 1");
    factors[axis] = std::min(factors[axis], data.shape[axis]);
    const int64_t blocks = (data.shape[axis] + factors[axis] - 1) / factors[axis];
    require(out.shape[axis] == blocks, "the result has another number of blocks");
  }
  require_apart(out, data);
  lightcrcf::block_mean(data, BlockShape{factors[0], factors[1], factors[2]}, out);
}

void normal_equations(ConstVolume fixed, ConstVolume weight, ConstVolume moving, ConstVolume valid, Matrix matrix,
                      bool blank_outside, Table out) {
  require_affine(matrix);
  require_gram(out);
  lightcrcf::normal_equations(alignment(fixed, weight, moving, valid, blank_outside), matrix, out);
}

void fisher_sums(ConstVolume fixed, ConstVolume weight, ConstVolume moving, ConstVolume valid, Matrix matrix,
                 bool blank_outside, View<const double, 2> slopes, double top, Table out) {
  require_affine(matrix);
  require_bins(slopes);
  require_gram(out);
  lightcrcf::fisher_sums(alignment(fixed, weight, moving, valid, blank_outside), matrix, slopes, top, out);
}

void correlation_sums(ConstVolume fixed, ConstVolume weight, ConstVolume moving, ConstVolume valid,
                      View<const double, 3> matrices, bool blank_outside, Table out) {
  require(matrices.shape[1] == 3 && matrices.shape[2] == 4, "matrices need the shape (n, 3, 4)");
  require(out.shape[0] == matrices.shape[0] && out.shape[1] == 6, "the result needs the shape (n, 6)");
  lightcrcf::correlation_sums(alignment(fixed, weight, moving, valid, blank_outside), matrices, out);
}

void joint_histogram(ConstVolume fixed, ConstVolume weight, ConstVolume moving, ConstVolume valid, Matrix matrix,
                     bool blank_outside, double top, Table out) {
  require_affine(matrix);
  require_bins(out);
  lightcrcf::joint_histogram(alignment(fixed, weight, moving, valid, blank_outside), matrix, top, out);
}

void interpolate_table(View<const float, 1> values, View<const double, 1> table, double top, View<float, 1> out) {
  require(values.shape[0] == out.shape[0], "arrays differ in shape");
  require_apart(out, values);
  require_apart(out, table);
  require(table.shape[0] >= 2 && table.shape[0] <= std::numeric_limits<int32_t>::max(), "a table needs two entries");
  lightcrcf::interpolate_table(values, table, top, out);
}

}  // namespace

void bind_affine(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.def("block_mean", &block_mean, "data"_a, "factors"_a, "out"_a, unlocked);
  module.def("normal_equations", &normal_equations, "fixed"_a, "weight"_a, "moving"_a, "valid"_a, "matrix"_a,
             "blank_outside"_a, "out"_a, unlocked);
  module.def("fisher_sums", &fisher_sums, "fixed"_a, "weight"_a, "moving"_a, "valid"_a, "matrix"_a, "blank_outside"_a,
             "slopes"_a, "top"_a, "out"_a, unlocked);
  module.def("correlation_sums", &correlation_sums, "fixed"_a, "weight"_a, "moving"_a, "valid"_a, "matrices"_a,
             "blank_outside"_a, "out"_a, unlocked);
  module.def("joint_histogram", &joint_histogram, "fixed"_a, "weight"_a, "moving"_a, "valid"_a, "matrix"_a,
             "blank_outside"_a, "top"_a, "out"_a, unlocked);
  module.def("interpolate_table", &interpolate_table, "values"_a, "table"_a, "top"_a, "out"_a, unlocked);
}

}  // namespace lightcrcf::python
