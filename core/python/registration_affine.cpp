#include <nanobind/stl/array.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "python/arrays.hpp"
#include "python/bindings.hpp"
#include "registration/affine_level.hpp"
#include "registration/affine_search.hpp"
#include "registration/affine_starts.hpp"

namespace lightcrcf::python {
namespace {

using Volumes = std::vector<ConstVolume>;
using Matrices = View<const double, 3>;
using Table = View<const double, 2>;

constexpr int64_t kMostIterations = 1000;  // nothing can interrupt them
constexpr int64_t kPyramidLevels = 5;

// Images of pairs, four a pair: fixed, moving, read by fixed, read by moving. Of each image stand in `volumes` its values,
// samples and validity; in `affines`, (n, 4, 4), voxels to mm; in `settings`, (n, 4), whether points outside are blank,
// litres of the foreground, litres per unit of weight, and the weight of the pair.
struct ImageList {
  const Volumes& volumes;
  Matrices affines;
  Table settings;

  int64_t count() const { return settings.shape[0]; }

  void check(int64_t levels) const {
    require(count() > 0 && count() % (4 * levels) == 0, "a pair has four images");
    require(settings.shape[1] == 4, "settings need the shape (n, 4)");
    require(affines.shape[0] == count(), "each image needs an affine");
    require(affines.shape[1] == 4 && affines.shape[2] == 4, "affines need the shape (n, 4, 4)");
    require(static_cast<int64_t>(volumes.size()) == 3 * count(), "each image has three volumes");
    for (size_t n = 0; n < volumes.size(); ++n) {
      require_indexable(volumes[n]);
      require_same_grid(volumes[n], volumes[n / 3 * 3]);
    }
  }

  AffineImage image(int64_t n) const {
    const Matrix4 to_mm = Matrix4::from(affines.at(n));
    const double* const its = settings.at(n);
    const size_t first = static_cast<size_t>(3 * n);
    return {volumes[first], volumes[first + 1], volumes[first + 2], to_mm, inverse(to_mm), its[0] != 0.0, its[1], its[2]};
  }

  // Return the pairs of one of several levels.
  AffinePairs pairs(int64_t level, int64_t levels, const Vector3& centroid_mm, double radius_mm) const {
    AffinePairs result{{}, centroid_mm, radius_mm};
    const int64_t images = count() / levels;
    for (int64_t n = level * images; n < (level + 1) * images; n += 4) {
      result.pairs.push_back({image(n), image(n + 1), image(n + 2), image(n + 3), settings.at(n)[3]});
    }
    return result;
  }
};

AffineMeasure measure_of(bool information) {
  return information ? AffineMeasure::information : AffineMeasure::correlation;
}

template <typename T>
void require_square(const View<T, 2>& matrix) {
  require(matrix.shape[0] == 4 && matrix.shape[1] == 4, "a matrix needs the shape (4, 4)");
}

std::vector<Matrix4> matrices_of(Matrices stack) {
  require(stack.shape[1] == 4 && stack.shape[2] == 4, "matrices need the shape (n, 4, 4)");
  std::vector<Matrix4> result;
  for (int64_t n = 0; n < stack.shape[0]; ++n) result.push_back(Matrix4::from(stack.at(n)));
  return result;
}

void require_freedom(int64_t freedom) { require(freedom >= 1 && freedom <= 12, "an affine has 1 to 12 degrees of freedom"); }

void write(const Matrix4& matrix, double* to) { std::copy(matrix.values.begin(), matrix.values.end(), to); }

std::tuple<double, int64_t> affine_fit(const Volumes& volumes, Matrices affines, Table settings, Vector3 centroid_mm,
                                       double radius_mm, int64_t freedom, int64_t iterations, double tolerance_mm,
                                       double prior, bool information, View<double, 2> matrix) {
  const ImageList images{volumes, affines, settings};
  images.check(1);
  require_square(matrix);
  require_freedom(freedom);
  require(iterations >= 0 && iterations <= kMostIterations, "0 to 1000 iterations");
  const FitOptions options{static_cast<int>(freedom), static_cast<int>(iterations), tolerance_mm, prior,
                           measure_of(information)};
  const AffineFit start{Matrix4::from(matrix.data), 0.0, 0};
  const AffineFit fit = fit_affine(images.pairs(0, 1, centroid_mm, radius_mm), start, options);
  write(fit.matrix, matrix.data);
  return {fit.cost, fit.iterations};
}

double affine_system(const Volumes& volumes, Matrices affines, Table settings, Table matrix, Matrices basis, double prior,
                     bool information, View<double, 2> hessian, View<double, 1> descent) {
  const ImageList images{volumes, affines, settings};
  images.check(1);
  require_square(matrix);
  const int64_t size = basis.shape[0];
  require(descent.shape[0] == size && hessian.shape[0] == size && hessian.shape[1] == size, "arrays differ in shape");
  const AffineSystem system = lightcrcf::affine_system(images.pairs(0, 1, {}, 1.0), Matrix4::from(matrix.data),
                                                       matrices_of(basis), prior, measure_of(information));
  std::copy(system.hessian.begin(), system.hessian.end(), hessian.data);
  std::copy(system.descent.begin(), system.descent.end(), descent.data);
  return system.cost;
}

void affine_correlations(const Volumes& volumes, Matrices affines, Table settings, Matrices matrices, View<double, 1> out) {
  const ImageList images{volumes, affines, settings};
  images.check(1);
  require(out.shape[0] == matrices.shape[0], "arrays differ in shape");
  const std::vector<double> found = lightcrcf::affine_correlations(images.pairs(0, 1, {}, 1.0), matrices_of(matrices));
  std::copy(found.begin(), found.end(), out.data);
}

// The levels are coarse, middle, fine, middle and fine normalised locally.
std::tuple<int64_t, double, int64_t, double, double> affine_search(const Volumes& volumes, Matrices affines,
                                                                   Table settings, Table centroids_mm,
                                                                   View<const double, 1> radii_mm, Matrices starts,
                                                                   int64_t freedom, View<double, 2> matrix) {
  const ImageList images{volumes, affines, settings};
  images.check(kPyramidLevels);
  require_square(matrix);
  require_freedom(freedom);
  require(starts.shape[0] > 0, "a search needs a start");
  require(centroids_mm.shape[0] == kPyramidLevels && centroids_mm.shape[1] == 3, "centroids need the shape (5, 3)");
  require(radii_mm.shape[0] == kPyramidLevels, "each level needs a radius");
  const auto level = [&](int64_t n) {
    const double* const at = centroids_mm.at(n);
    return images.pairs(n, kPyramidLevels, {at[0], at[1], at[2]}, radii_mm.data[n]);
  };
  const AffinePyramid pyramid{level(0), level(1), level(2), level(3), level(4)};
  const FoundAffine found = search_affine(pyramid, matrices_of(starts), static_cast<int>(freedom));
  write(found.fit.matrix, matrix.data);
  return {static_cast<int64_t>(found.start), found.fit.cost, found.fit.iterations, found.middle_cost, found.similarity};
}

std::vector<size_t> distinct_affines(Matrices matrices, View<const double, 1> costs, Vector3 centroid_mm,
                                     double radius_mm) {
  require(costs.shape[0] == matrices.shape[0], "each matrix needs a cost");
  std::vector<AffineFit> fits;
  for (const Matrix4& matrix : matrices_of(matrices)) fits.push_back({matrix, costs.data[fits.size()], 0});
  return distinct_fits(fits, centroid_mm, radius_mm);
}

void affine_generators(Vector3 centre_mm, double radius_mm, View<double, 3> out) {
  require(out.shape[0] == 12 && out.shape[1] == 4 && out.shape[2] == 4, "the result needs the shape (12, 4, 4)");
  double* to = out.data;
  for (const Matrix4& generator : lightcrcf::affine_generators(centre_mm, radius_mm)) {
    write(generator, to);
    to += 16;
  }
}

void affine_rotations(View<double, 3> out) {
  require(out.shape[0] == 96 && out.shape[1] == 4 && out.shape[2] == 4, "the result needs the shape (96, 4, 4)");
  double* to = out.data;
  for (const Matrix4& rotation : rotations()) {
    write(rotation, to);
    to += 16;
  }
}

void matrix_exponential(Table matrix, View<double, 2> out) {
  require_square(matrix);
  require_square(out);
  write(exponential(Matrix4::from(matrix.data)), out.data);
}

void logarithmic_strain(Table matrix, Matrices basis, View<double, 1> out, View<double, 2> derivatives) {
  require_square(matrix);
  require(out.shape[0] == 9 && derivatives.shape[1] == 9, "a strain has 9 entries");
  require(derivatives.shape[0] == basis.shape[0], "arrays differ in shape");
  const Strain strain = lightcrcf::logarithmic_strain(Matrix4::from(matrix.data), matrices_of(basis));
  std::copy(strain.values.begin(), strain.values.end(), out.data);
  for (size_t n = 0; n < strain.derivatives.size(); ++n) {
    std::copy(strain.derivatives[n].begin(), strain.derivatives[n].end(), derivatives.at(n));
  }
}

void normalise_locally(ConstVolume image, ConstVolume foreground, ConstVolume samples, ConstVolume valid, int64_t edge,
                       bool blank_outside, Volume out, Volume out_samples, Volume out_valid) {
  const ConstVolume inputs[] = {image, foreground, samples, valid};
  require_indexable(image);
  require(edge >= 0 && edge < int64_t{1} << 30, "the edge is negative, or 2^30 and more");
  for (const ConstVolume& input : inputs) require_same_grid(image, input);
  for (const Volume& each : {out, out_samples, out_valid}) {
    require_same_grid(image, each);
    for (const ConstVolume& input : inputs) require_apart(each, input);
  }
  lightcrcf::normalise_locally({image, foreground, samples, valid, edge, blank_outside}, {out, out_samples, out_valid});
}

void weight_by_agreement(ConstVolume image, ConstVolume samples, ConstVolume other, Table matrix, Volume out) {
  require_indexable(image);
  require_indexable(other);
  require_same_grid(image, samples);
  require_same_grid(image, out);
  require(matrix.shape[0] == 3 && matrix.shape[1] == 4, "a matrix needs the shape (3, 4)");
  for (const ConstVolume& input : {image, samples, other}) require_apart(out, input);
  lightcrcf::weight_by_agreement(image, samples, other, matrix.data, out);
}

}  // namespace

void bind_registration_affine(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.attr("STRAIN_PRIOR") = kStrainPrior;
  module.attr("COARSE_STARTS") = kCoarseStarts;
  module.attr("MIDDLE_STARTS") = kMiddleStarts;
  module.attr("FULL_OVERLAP") = kFullOverlap;
  module.def("affine_fit", &affine_fit, "volumes"_a, "affines"_a, "settings"_a, "centroid_mm"_a, "radius_mm"_a,
             "freedom"_a, "iterations"_a, "tolerance_mm"_a, "prior"_a, "information"_a, "matrix"_a, unlocked);
  module.def("affine_system", &affine_system, "volumes"_a, "affines"_a, "settings"_a, "matrix"_a, "basis"_a, "prior"_a,
             "information"_a, "hessian"_a, "descent"_a, unlocked);
  module.def("affine_correlations", &affine_correlations, "volumes"_a, "affines"_a, "settings"_a, "matrices"_a, "out"_a,
             unlocked);
  module.def("affine_search", &affine_search, "volumes"_a, "affines"_a, "settings"_a, "centroids_mm"_a, "radii_mm"_a,
             "starts"_a, "freedom"_a, "matrix"_a, unlocked);
  module.def("distinct_affines", &distinct_affines, "matrices"_a, "costs"_a, "centroid_mm"_a, "radius_mm"_a, unlocked);
  module.def("affine_generators", &affine_generators, "centre_mm"_a, "radius_mm"_a, "out"_a);
  module.def("affine_rotations", &affine_rotations, "out"_a);
  module.def("matrix_exponential", &matrix_exponential, "matrix"_a, "out"_a);
  module.def("logarithmic_strain", &logarithmic_strain, "matrix"_a, "basis"_a, "out"_a, "derivatives"_a);
  module.def("normalise_locally", &normalise_locally, "image"_a, "foreground"_a, "samples"_a, "valid"_a, "edge"_a,
             "blank_outside"_a, "out"_a, "out_samples"_a, "out_valid"_a, unlocked);
  module.def("weight_by_agreement", &weight_by_agreement, "image"_a, "samples"_a, "other"_a, "matrix"_a, "out"_a, unlocked);
}

}  // namespace lightcrcf::python
