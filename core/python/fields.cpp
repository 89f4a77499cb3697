#include "fields/determinant.hpp"
#include "fields/folds.hpp"
#include "fields/inverse.hpp"
#include "fields/mark.hpp"
#include "fields/unfold.hpp"
#include "fields/warp_gradients.hpp"
#include "fields/window_mean.hpp"
#include "python/arrays.hpp"
#include "python/bindings.hpp"

namespace lightcrcf::python {
namespace {

using Indices = View<const int64_t, 1>;

void require_displacement(const ConstField& u) {
  require(u.shape[0] == 3, "a displacement needs three channels");
  require_indexable(u);
}

void require_cells(const ConstField& u, const View<const float, 3>& cells) {
  for (int axis = 0; axis < 3; ++axis) require(cells.shape[axis] == u.shape[axis + 1] + 1, "a field has one cell more than voxels");
}

// Raise ValueError unless all indices are in [0, count).
void require_within(const Indices& indices, int64_t count) {
  bool within = true;
  for (int64_t n = 0; n < indices.shape[0]; ++n) within &= indices.data[n] >= 0 && indices.data[n] < count;
  require(within, "an index is out of range");
}

void require_radius(int64_t radius) {
  require(radius >= 0 && radius < int64_t{1} << 30, "the radius is negative, or 2^30 and more");
}

// Return when a search ends, checked: a kernel cannot be interrupted.
Accuracy accuracy_of(int64_t iterations, double tolerance) {
  require(iterations >= 0 && iterations <= 10000, "iterations must be 0 to 10000");
  return {iterations, tolerance};
}

void jacobian_determinant(ConstField u, Volume out) {
  require_displacement(u);
  require_same_grid(u[0], ConstVolume(out));
  require_apart(out, u);
  lightcrcf::jacobian_determinant(u, out);
}

void determinants_at(ConstField u, Indices voxels, View<float, 1> out) {
  require_displacement(u);
  require_within(voxels, u[0].size());
  require(out.shape[0] == voxels.shape[0], "arrays differ in shape");
  require_apart(out, u);
  require_apart(out, voxels);
  lightcrcf::determinants_at(u, voxels, out);
}

void even_out(Field u, ConstVolume determinants, float rate) {
  require_displacement(u);
  require_same_grid(ConstField(u)[0], determinants);
  require_apart(u, determinants);
  lightcrcf::even_out(u, determinants, rate);
}

void mark_cubes(Indices voxels, int64_t radius, View<uint8_t, 3> out) {
  require_radius(radius);
  require_indexable(out);
  require_within(voxels, out.size());
  require_apart(out, voxels);
  lightcrcf::mark_cubes(voxels, radius, out);
}

void window_mean(ConstField images, int64_t radius, Field out) {
  require_radius(radius);
  require_indexable(images);
  require_same_grid(images, ConstField(out));
  require_apart(out, images);
  lightcrcf::window_mean(images, radius, out);
}

void warp_gradient(ConstField features, ConstField u, ConstField gradient, Field out) {
  require_displacement(u);
  require_same_grid(features, u, 1);
  require_same_grid(features, gradient);
  require_same_grid(u, ConstField(out));
  for (const ConstField& input : {features, u, gradient}) require_apart(out, input);
  lightcrcf::warp_gradient(features, u, gradient, out);
}

void warp_features_gradient(ConstField u, ConstField gradient, Field out) {
  require_displacement(u);
  require_same_grid(u, gradient, 1);
  require_same_grid(gradient, ConstField(out));
  for (const ConstField& input : {u, gradient}) require_apart(out, input);
  lightcrcf::warp_features_gradient(u, gradient, out);
}

void displacement_at(ConstField u, ConstPoints points, Points out) {
  require_displacement(u);
  require(points.shape[1] == 3, "points must be (N, 3)");
  require_same_grid(points, ConstPoints(out));
  require_apart(out, points);
  require_apart(out, u);
  lightcrcf::displacement_at(u, points, out);
}

void invert_at(ConstField u, ConstPoints points, int64_t iterations, double tolerance, Points out) {
  require_displacement(u);
  require(points.shape[1] == 3, "points must be (N, 3)");
  require_same_grid(points, ConstPoints(out));
  require_apart(out, points);
  require_apart(out, u);
  lightcrcf::invert_at(u, points, accuracy_of(iterations, tolerance), out);
}

void invert(ConstField u, int64_t iterations, double tolerance, Field out) {
  require_displacement(u);
  require_same_grid(u, ConstField(out));
  require_apart(out, u);
  lightcrcf::invert(u, accuracy_of(iterations, tolerance), out);
}

void lowest_determinants(ConstField u, Volume out) {
  require_displacement(u);
  require_indexable(out);
  require_cells(u, out);
  require_apart(out, u);
  lightcrcf::lowest_determinants(u, out);
}

void unfold(Field u, Indices cells, float floor, float target, float factor, View<uint8_t, 1> moved) {
  require_displacement(u);
  require_within(cells, (u.shape[1] + 1) * (u.shape[2] + 1) * (u.shape[3] + 1));
  require(moved.shape[0] == cells.shape[0], "arrays differ in shape");
  require_apart(u, cells);
  require_apart(moved, u);
  require_apart(moved, cells);
  lightcrcf::unfold(u, cells, Repair{floor, target, factor}, moved);
}

void smooth_at(ConstField u, Indices voxels, View<float, 2> out) {
  require_displacement(u);
  require_within(voxels, u[0].size());
  require(out.shape[0] == 3 && out.shape[1] == voxels.shape[0], "out must be (3, N)");
  require_apart(out, u);
  require_apart(out, voxels);
  lightcrcf::smooth_at(u, voxels, out);
}

}  // namespace

void bind_fields(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.def("jacobian_determinant", &jacobian_determinant, "u"_a, "out"_a, unlocked);
  module.def("determinants_at", &determinants_at, "u"_a, "voxels"_a, "out"_a, unlocked);
  module.def("even_out", &even_out, "u"_a, "determinants"_a, "rate"_a, unlocked);
  module.def("mark_cubes", &mark_cubes, "voxels"_a, "radius"_a, "out"_a, unlocked);
  module.def("window_mean", &window_mean, "images"_a, "radius"_a, "out"_a, unlocked);
  module.def("warp_gradient", &warp_gradient, "features"_a, "u"_a, "gradient"_a, "out"_a, unlocked);
  module.def("warp_features_gradient", &warp_features_gradient, "u"_a, "gradient"_a, "out"_a, unlocked);
  module.def("displacement_at", &displacement_at, "u"_a, "points"_a, "out"_a, unlocked);
  module.def("invert_at", &invert_at, "u"_a, "points"_a, "iterations"_a, "tolerance"_a, "out"_a, unlocked);
  module.def("invert", &invert, "u"_a, "iterations"_a, "tolerance"_a, "out"_a, unlocked);
  module.def("lowest_determinants", &lowest_determinants, "u"_a, "out"_a, unlocked);
  module.def("unfold", &unfold, "u"_a, "cells"_a, "floor"_a, "target"_a, "factor"_a, "moved"_a, unlocked);
  module.def("smooth_at", &smooth_at, "u"_a, "voxels"_a, "out"_a, unlocked);
}

}  // namespace lightcrcf::python
