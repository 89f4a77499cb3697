// Registration for JavaScript: affine search, resampling and refinement of one pair of images of one contrast.
#include <algorithm>
#include <iterator>

#include "registration/affine_pyramid.hpp"
#include "registration/affine_starts.hpp"
#include "registration/refine.hpp"
#include "sampling/resample.hpp"
#include "wasm/export.hpp"

using namespace lightcrcf;
using wasm::view;

namespace {

// Columns of a schedule, one row a level, followed by three of each candidate: backward, and both Gaussians.
enum Column {
  kScale, kImageScale, kSteps, kStep, kMomentum, kForce, kVolume, kBackground, kMinMergeRatio,
  kMetric,  // 0 lncc, 1 mse, 2 explained
  kRadius, kContrast, kContrastSigma, kCandidates, kFirstCandidate,
  kColumns = kFirstCandidate + 3 * kMostCandidates
};

Level level_of(const double* row) {
  Level level{static_cast<int64_t>(row[kScale]), static_cast<int64_t>(row[kImageScale]), static_cast<int64_t>(row[kSteps]), row[kStep], row[kMomentum], row[kForce],
              row[kVolume], row[kBackground], row[kMinMergeRatio], {}, {}};
  for (int n = 0; n < static_cast<int>(row[kCandidates]); ++n) {
    const double* const each = row + kFirstCandidate + 3 * n;
    level.candidates.push_back({each[0] != 0.0, each[1], each[2]});
  }
  level.measures.push_back({static_cast<Metric>(static_cast<int>(row[kMetric])), static_cast<int64_t>(row[kRadius]),
                            row[kContrast], row[kContrastSigma]});
  return level;
}

// planes: (3, D, H, W), image, tissue and usable voxels; settings: outline, edge, blank outside.
AffineSource source(const float* planes, const int32_t* grid, const double* to_mm, const int32_t* settings) {
  const ConstField all = wasm::field(planes, grid);
  return {all[0], all[1], all[2], Matrix4::from(to_mm), settings[0] != 0, settings[1], settings[2] != 0};
}

// numbers: variance, size and unit, as in ImageNoise.
ImageNoise noise_of(const double* numbers) { return {numbers[0], numbers[1], numbers[2]}; }

}  // namespace

// Find the affine from fixed to moving RAS mm from the starts that keep the headers' orientation, or from the others.
//
// Both images: planes (3, D, H, W) at the finest resolution, grid (D, H, W), to_mm (4, 4) and settings (3) as in
// AffineSource: image, tissue, usable; outline, edge, blank_outside. freedom: 6 rigid, 7 similarity, 12 affine.
// matrix: (4, 4), overwritten. Return the cost at the middle level: below 0.5 an upright alignment of masked images is sure.
LIGHTCRCF_EXPORT double lightcrcf_search_affine(const float* fixed, const int32_t* fixed_grid, const double* fixed_to_mm,
                                                const int32_t* fixed_settings, const float* moving,
                                                const int32_t* moving_grid, const double* moving_to_mm,
                                                const int32_t* moving_settings, int32_t freedom, int32_t upright,
                                                double* matrix) {
  const PairLevels levels = build_pair_levels(source(fixed, fixed_grid, fixed_to_mm, fixed_settings),
                                              source(moving, moving_grid, moving_to_mm, moving_settings));
  const std::vector<Matrix4> starts =
      affine_starts(levels.fixed[0].centroid_mm(), levels.moving[0].centroid_mm(), upright != 0);
  const FoundAffine found = search_affine(levels.views(), starts, freedom);
  std::copy(found.fit.matrix.values.begin(), found.fit.matrix.values.end(), matrix);
  return found.middle_cost;
}

// Resample the moving image onto the grid of the fixed one, linearly, 0 outside. matrix: (4, 4), fixed to moving mm.
LIGHTCRCF_EXPORT void lightcrcf_resample_affine(const float* moving, const int32_t* moving_grid,
                                                const double* moving_to_mm, const double* matrix, const int32_t* grid,
                                                const double* to_mm, float* out) {
  const Matrix4 index = inverse(Matrix4::from(moving_to_mm)) * Matrix4::from(matrix) * Matrix4::from(to_mm);
  Mapping mapping{};
  std::copy_n(index.values.begin(), std::size(mapping.matrix), mapping.matrix);
  resample_linear(view<3>(moving, moving_grid), mapping, 0.0f, view<3>(out, grid));
}

// Refine from the identity, and return the objective.
//
// fixed, moving: (D, H, W), unit range; masked: (2), whether everything outside of each image's anatomy was set to 0;
// noise: (2, 3), variance, size and unit of each; schedule: (count, columns), see Column; pool: (3), 2, or 1 for an axis that
// is never pooled; out: (3, D, H, W) voxels, or at the scale of the last level, overwritten.
LIGHTCRCF_EXPORT double lightcrcf_refine(const float* fixed, const float* moving, const int32_t* grid,
                                         const int32_t* masked, const double* noise, const double* schedule, int32_t count,
                                         const int32_t* pool, float* out) {
  const Images images{view<3>(fixed, grid),
                      view<3>(moving, grid),
                      {nullptr, {}},
                      {nullptr, {}},
                      Noise{noise_of(noise), noise_of(noise + 3)},
                      {masked[0] != 0, masked[1] != 0},
                      1.0};
  std::vector<Level> levels;
  for (int32_t n = 0; n < count; ++n) levels.push_back(level_of(schedule + n * kColumns));
  const Start identity{{nullptr, {}}, {nullptr, {}}};
  const Refinement found = refine({images}, levels, {pool[0], pool[1], pool[2]}, identity, Watch());
  copy_values(found.displacement.data(), found.displacement.size(), out);
  return found.objective_after;
}
