#include "registration/affine_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "registration/affine_level.hpp"

namespace lightcrcf {
namespace {

// Alignments that differ by less than this fraction of the radius are duplicates.
constexpr double kDuplicateFraction = 0.1;
constexpr int kRigid = 6;

// Return the longest distance, along one axis, between where two affines take four points about a centre.
double distance(const Matrix4& a, const Matrix4& b, const Vector3& centroid_mm, double radius_mm) {
  double most = 0.0;
  for (int corner = 0; corner < 4; ++corner) {
    Vector3 point = centroid_mm;
    if (corner < 3) point[corner] += radius_mm;
    const Vector3 p = transform_point(a, point), q = transform_point(b, point);
    for (int axis = 0; axis < 3; ++axis) most = std::max(most, std::fabs(p[axis] - q[axis]));
  }
  return most;
}

// Return 0, 1, ... sorted by ascending values, NaN last.
std::vector<size_t> order(std::vector<double> values) {
  for (double& value : values) {
    if (std::isnan(value)) value = std::numeric_limits<double>::infinity();
  }
  std::vector<size_t> indices(values.size());
  std::iota(indices.begin(), indices.end(), size_t{0});
  std::stable_sort(indices.begin(), indices.end(), [&values](size_t a, size_t b) { return values[a] < values[b]; });
  return indices;
}

struct Refined {
  size_t start;
  AffineFit fit;
};

// Return the best starts, refined at the coarse level, without duplicates.
std::vector<Refined> refine_starts(const AffinePairs& coarse, const std::vector<Matrix4>& starts) {
  std::vector<double> costs = affine_correlations(coarse, starts);
  for (double& cost : costs) cost = -cost;
  std::vector<size_t> best = order(costs);
  best.resize(std::min(best.size(), kCoarseStarts));
  std::vector<AffineFit> fits;
  for (size_t start : best) {
    const AffineFit from{starts[start], std::numeric_limits<double>::infinity(), 0};
    fits.push_back(fit_affine(coarse, from, {kRigid, 15, 0.5, 0.0}));
  }
  std::vector<Refined> refined;
  for (size_t n : distinct_fits(fits, coarse.centroid_mm, coarse.radius_mm)) refined.push_back({best[n], fits[n]});
  refined.resize(std::min(refined.size(), kMiddleStarts));
  return refined;
}

// Return the start with the best local correlation at the middle level.
Refined best_start(const AffinePyramid& images, const std::vector<Matrix4>& starts, int freedom) {
  std::vector<Refined> found = refine_starts(images.coarse, starts);
  for (Refined& each : found) {
    each.fit = fit_affine(images.middle, each.fit, {kRigid, 10, 0.3, 0.0});
    each.fit = fit_affine(images.middle, each.fit, {freedom, 15, 0.3, kStrainPrior});
    each.fit = fit_affine(images.local_middle, each.fit, {freedom, 15, 0.3, kStrainPrior});
  }
  return *std::min_element(found.begin(), found.end(),
                           [](const Refined& a, const Refined& b) { return a.fit.cost < b.fit.cost; });
}

// Fit with samples that are weighted by the agreement at the start.
AffineFit fit_weighted(const AffinePairs& pairs, const AffineFit& start, int freedom, double tolerance_mm) {
  const WeightedPairs weighted = weight_by_agreement(pairs, start.matrix);
  return fit_affine(weighted.pairs, start, {freedom, 10, tolerance_mm, kStrainPrior});
}

}  // namespace

std::vector<size_t> distinct_fits(const std::vector<AffineFit>& fits, const Vector3& centroid_mm, double radius_mm) {
  std::vector<double> costs;
  for (const AffineFit& fit : fits) costs.push_back(fit.cost);
  std::vector<size_t> kept;
  for (size_t n : order(costs)) {
    const auto equal = [&](size_t other) {
      return !(distance(fits[n].matrix, fits[other].matrix, centroid_mm, radius_mm) > kDuplicateFraction * radius_mm);
    };
    if (std::none_of(kept.begin(), kept.end(), equal)) kept.push_back(n);
  }
  return kept;
}

FoundAffine search_affine(const AffinePyramid& images, const std::vector<Matrix4>& starts, int freedom) {
  const Refined best = best_start(images, starts, freedom);
  AffineFit fit = fit_weighted(images.local_middle, best.fit, freedom, 0.1);
  fit = fit_weighted(images.local_fine, fit, freedom, 0.05);
  return {best.start, fit, best.fit.cost, affine_correlations(images.local_fine, {fit.matrix}).front()};
}

}  // namespace lightcrcf
