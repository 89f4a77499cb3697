#include "registration/folds.hpp"

#include <iterator>
#include <vector>

#include "fields/determinant.hpp"
#include "fields/mark.hpp"
#include "refinement/smooth.hpp"
#include "registration/gaussian.hpp"

namespace lightcrcf {
namespace {

using Voxels = std::vector<int64_t>;

constexpr int64_t kPasses = 6, kFewFolds = 10'000;  // of smoothing, and the most folded voxels that it is tried on
constexpr float kMinDeterminant = 0.05f;

// Shares by which a step is taken back, and how many voxels around a fold; after three tries for folds alone.
struct StepBack {
  float share;
  int64_t radius;
};
constexpr StepBack kStepBack[] = {{0.5f, 2}, {0.5f, 2}, {0.5f, 2}, {1.0f, 2}, {1.0f, 3}, {1.0f, 4}};
constexpr int kTries = 3;

View<const int64_t, 1> view_of(const Voxels& voxels) {
  return {voxels.data(), {static_cast<int64_t>(voxels.size())}};
}

// Return the flat indices of values up to a limit.
Voxels at_most(float limit, const ConstVolume& values) {
  Voxels found;
  for (int64_t n = 0; n < values.size(); ++n) {
    if (values.data[n] <= limit) found.push_back(n);
  }
  return found;
}

bool all_above(float limit, const ConstVolume& values) {
  return std::all_of(values.data, values.data + values.size(), [=](float value) { return value > limit; });
}

int64_t count_folded(const ConstVolume& determinants) {
  return std::count_if(determinants.data, determinants.data + determinants.size(), [](float d) { return d <= 0.0f; });
}

// Return all voxels in cubes around some voxels, each once, in order. marks: (D, H, W), overwritten.
Voxels voxels_around(const Voxels& voxels, int64_t radius, const View<uint8_t, 3>& marks) {
  std::fill(marks.data, marks.data + marks.size(), uint8_t{0});
  lightcrcf::mark_cubes(view_of(voxels), radius, marks);
  Voxels found;
  for (int64_t n = 0; n < marks.size(); ++n) {
    if (marks.data[n] != 0) found.push_back(n);
  }
  return found;
}

std::vector<float> determinants_of(const ConstField& field, const Voxels& voxels) {
  std::vector<float> found(voxels.size());
  lightcrcf::determinants_at(field, view_of(voxels), View<float, 1>{found.data(), {static_cast<int64_t>(found.size())}});
  return found;
}

// Copy the vectors at some voxels.
void copy_at(const Voxels& voxels, const ConstField& from, const Field& to) {
  const int64_t size = to[0].size();
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t n : voxels) to.data[c * size + n] = from.data[c * size + n];
  }
}

// candidate += share * (field - candidate) at some voxels.
void take_back(const Voxels& voxels, float share, const ConstField& field, const Field& candidate) {
  const int64_t size = candidate[0].size();
  for (int64_t c = 0; c < 3; ++c) {
    const float* before = field.data + c * size;
    float* after = candidate.data + c * size;
    for (int64_t n : voxels) after[n] += share * (before[n] - after[n]);
  }
}

// Return those voxels at which the determinant was larger before.
Voxels worse_than(const ConstField& field, const Voxels& voxels, const ConstVolume& determinants) {
  const std::vector<float> before = determinants_of(field, voxels);
  Voxels found;
  for (size_t n = 0; n < voxels.size(); ++n) {
    if (determinants.data[voxels[n]] < before[n]) found.push_back(voxels[n]);
  }
  return found;
}

}  // namespace

int64_t count_folds(const ConstField& field) {
  const VolumeArray determinants = make_volume(shape_of(field));
  lightcrcf::jacobian_determinant(field, determinants);
  return count_folded(determinants);
}

FoldRepair smooth_folds(const Field& field, int64_t allowed) {
  const VolumeArray determinants = make_volume(shape_of(field));
  FieldArray smoothed;
  Array<uint8_t, 3> marks;
  for (int64_t radius = 1; radius <= kPasses; ++radius) {
    lightcrcf::jacobian_determinant(field, determinants);
    const Voxels folded = at_most(0.0f, determinants);
    const auto count = static_cast<int64_t>(folded.size());
    if (count <= allowed || count > kFewFolds) return {count, radius > 1};
    if (radius == 1) {
      smoothed = make_field(3, shape_of(field));
      marks = Array<uint8_t, 3>(field.shape[1], field.shape[2], field.shape[3]);
    }
    lightcrcf::smooth(field, gaussian_taps(1.0), smoothed);
    copy_at(voxels_around(folded, radius + 1, marks), smoothed, field);
  }
  return {count_folds(field), true};
}

bool repair_folds(const Field& candidate, const ConstField& field, const Volume& determinants) {
  lightcrcf::jacobian_determinant(candidate, determinants);
  if (all_above(kMinDeterminant, determinants)) return true;
  const Array<uint8_t, 3> marks(field.shape[1], field.shape[2], field.shape[3]);
  for (int number = 0; number < static_cast<int>(std::size(kStepBack)); ++number) {
    const Voxels low = at_most(kMinDeterminant, determinants), worse = worse_than(field, low, determinants);
    if (worse.empty() || (number >= kTries && count_folded(determinants) == 0)) return true;
    const auto [share, radius] = kStepBack[number];
    take_back(voxels_around(worse, radius, marks), share, field, candidate);
    const Voxels changed = voxels_around(worse, radius + 1, marks);
    const std::vector<float> now = determinants_of(candidate, changed);
    for (size_t n = 0; n < changed.size(); ++n) determinants.data[changed[n]] = now[n];
  }
  const int64_t folded = count_folded(determinants);
  lightcrcf::jacobian_determinant(field, determinants);
  return folded <= count_folded(determinants);
}

}  // namespace lightcrcf
