#include "registration/ascent.hpp"

#include <cmath>

#include "fields/determinant.hpp"
#include "refinement/smooth.hpp"
#include "refinement/step.hpp"
#include "registration/folds.hpp"
#include "registration/gaussian.hpp"
#include "registration/statistics.hpp"

namespace lightcrcf {
namespace {

constexpr float kStrong = 0.99f;    // quantile of the forces in the foreground that become steps of full length
constexpr double kStalled = 1e-5;   // relative change of the objective by a step below which a level ends
constexpr double kMinShare = 0.25;  // of the length of steps after some that lowered the objective
constexpr double kEvenOnce = 0.65;  // up to here volumes are evened out at once, else in several smaller, stable steps
constexpr double kEvenEach = 0.4;
constexpr double kEvenTimes = 8;
constexpr int64_t kSingleThreadVoxels = 1 << 15;  // up to here waking a second thread takes longer than it saves

// Limits the loops of this thread to one thread, if wanted.
class SingleThread {
 public:
  explicit SingleThread(bool wanted) : before_(thread_count()) {
    if (wanted) set_thread_count(1);
  }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;
  ~SingleThread() { set_thread_count(before_); }

 private:
  int before_;
};

// Return the squared lengths of vectors (3, D, H, W) at a sample of every third voxel along each axis.
std::vector<float> squared_lengths(const ConstField& vectors, const Sample& sample) {
  std::vector<float> found;
  found.reserve(sample.counts.size());
  const int64_t size = vectors[0].size();
  size_t at = 0;
  for (int64_t i = 0; i < vectors.shape[1]; i += 3) {
    for (int64_t j = 0; j < vectors.shape[2]; j += 3) {
      const float* row = vectors.at(0, i, j);
      for (int64_t k = 0; k < vectors.shape[3]; k += 3) {
        if (!sample.counts[at++]) continue;
        const float z = row[k], y = row[size + k], x = row[2 * size + k];
        found.push_back(z * z + y * y + x * x);
      }
    }
  }
  return found;
}

}  // namespace

std::vector<double> even_out_rates(double volume) {
  if (!(volume > 0)) return {};
  if (volume <= kEvenOnce) return {volume};
  const double times = std::min(std::ceil(volume / kEvenEach), kEvenTimes);
  return std::vector<double>(static_cast<size_t>(times), std::min(volume / times, kEvenEach));
}

LevelSolver::LevelSolver(const std::vector<Images>& pairs, const Level& level, const Pool& pool, const Watch& watch)
    : level_(level), watch_(watch), objective_(pairs, level, pool, watch), work_(objective_.workspace()),
      spare_(make_field(3, objective_.field_shape())), velocity_(make_field(3, objective_.field_shape())) {
  if (work_.data != nullptr) return;
  own_work_ = make_field(3, objective_.field_shape());
  work_ = own_work_;
}

Ascent LevelSolver::ascend(FieldArray field, const CandidateKind& kind) {
  force_taps_ = gaussian_taps(kind.force_sigma);
  field_taps_ = gaussian_taps(kind.field_sigma);
  const SingleThread limit(work_[0].size() <= kSingleThreadVoxels);
  return climb(std::move(field));
}

Ascent LevelSolver::climb(FieldArray field) {
  double value = objective_.evaluate(field), momentum = 0.0, share = 1.0;
  int64_t steps = 0;
  while (steps < level_.steps) {
    const double strength = smooth_force();
    if (strength <= 0) break;
    const double scale = share * step_per_force(strength);
    lightcrcf::accumulate(velocity_, static_cast<float>(momentum), work_, static_cast<float>(scale));
    watch_.after("add");
    momentum = level_.momentum;
    if (!step(field)) break;
    std::swap(spare_, field);
    ++steps;
    const double previous = value;
    value = objective_.evaluate(field);
    if (std::abs(value - previous) < kStalled * std::abs(value)) break;
    // Too far: where images are alike already, forces turn within little.
    if (value < previous) share = std::max(share / 2, kMinShare);
  }
  return {std::move(field), value, steps};
}

// Compute the smoothed force at the field of the last evaluation into `work`. Return the 99 % quantile of its length in
// the foreground; 0 if there is none.
float LevelSolver::smooth_force() {
  objective_.force(spare_);
  lightcrcf::smooth(spare_, force_taps_, work_);
  watch_.after("smooth");
  std::vector<float> lengths = squared_lengths(work_, objective_.valid_sample());
  const float strength = lengths.empty() ? 0.0f : std::sqrt(quantile(lengths, kStrong));
  watch_.after("measure");
  return strength;
}

// Return the voxels of a step for each unit of force: `step` where forces are strong.
double LevelSolver::step_per_force(double strength) const {
  return level_.step / std::max(strength, level_.force * objective_.force_unit());
}

// Compose a field with the velocity, smooth it, even out its volume changes and repair its folds, into `spare`. Return
// whether it folds in no more voxels than `field`.
bool LevelSolver::step(const ConstField& field) {
  lightcrcf::compose_step(field, Step{velocity_, 1.0f, static_cast<float>(level_.step)}, work_);
  watch_.after("compose");
  lightcrcf::smooth(work_, field_taps_, spare_);
  watch_.after("smooth");
  const Volume determinants = work_[0];
  for (double rate : even_out_rates(level_.volume)) {
    lightcrcf::jacobian_determinant(spare_, determinants);
    lightcrcf::even_out(spare_, determinants, static_cast<float>(rate));
    watch_.after("even out");
  }
  const bool accepted = repair_folds(spare_, field, determinants);
  watch_.after("repair folds");
  return accepted;
}

}  // namespace lightcrcf
