// Refinements of small odd grids, for the sanitizers, and what is computed without a kernel.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/parallel.hpp"
#include "check.hpp"
#include "registration/folds.hpp"
#include "registration/gaussian.hpp"
#include "registration/refine.hpp"
#include "registration/statistics.hpp"

namespace lightcrcf::tests {
namespace {

constexpr Pool kPool{2, 2, 1};

VolumeArray random_volume(const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(0.0f, 1.2f);
  VolumeArray volume = make_volume(shape);
  for (int64_t n = 0; n < volume.size(); ++n) volume.data()[n] = uniform(random);
  return volume;
}

FieldArray random_field(const Shape& shape, float size) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.0f, size);
  FieldArray field = make_field(3, shape);
  for (int64_t n = 0; n < field.size(); ++n) field.data()[n] = normal(random);
  return field;
}

// Four levels: the first has four candidates, the third a field on half of the images' grid.
std::vector<Level> schedule_of(Metric metric) {
  const double contrast = metric == Metric::mse ? 0.0 : 0.5;
  const std::vector<Measure> measures{{metric, 1, contrast, 0.7}, {Metric::explained, 2, 0.5, 1.0}};
  const std::vector<CandidateKind> kinds{{false, 1.5, 0.5}, {true, 1.5, 0.5}, {false, 0.0, 0.7}, {true, 2.2, 0.7}};
  return {{4, 4, 3, 1.0, 0.0, 0.1, 0.7, 0.05, 0.0, kinds, measures},
          {2, 2, 2, 0.5, 0.6, 0.1, 0.4, 1.0, 2.0, {kinds[0]}, measures},
          {2, 1, 2, 0.5, 0.6, 0.1, 0.4, 1.0, 0.0, {kinds[0]}, measures},
          {1, 1, 2, 0.5, 0.6, 0.1, 0.4, 1.0, 0.0, {kinds[0]}, measures}};
}

std::vector<float> refined(const Shape& shape, Metric metric, bool started, int threads) {
  set_thread_count(threads);
  const VolumeArray fixed = random_volume(shape, 1), moving = random_volume(shape, 2), mask = random_volume(shape, 3);
  const FieldArray start = random_field(coarse_shape(shape, 2, kPool), 0.6f);
  const ConstVolume none{nullptr, {}};
  const Noise noise{{0.01, 1.0, 1.0}, {0.02, 2.0, 0.5}};
  const std::vector<Images> pairs{{fixed, moving, none, mask, noise, {true, false}, 0.5},
                                  {moving, fixed, mask, none, std::nullopt, {false, true}, 0.5}};
  const ConstField given = started ? ConstField(start) : ConstField{nullptr, {}};
  int64_t told = 0;
  const Watch watch([&](const char*) { ++told; });
  const Refinement found = refine(pairs, schedule_of(metric), kPool, {given, given}, watch);
  CHECK(told > 0 && found.steps.size() == 4 && found.displacement.size() == 3 * fixed.size());
  CHECK(found.objective_after >= found.objective_before && found.merge_accepted.has_value());
  CHECK(found.template_accepted.has_value() == started);
  CHECK(found.folded == count_folds(found.displacement));
  return {found.displacement.data(), found.displacement.data() + found.displacement.size()};
}

void check_refinements() {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{1, 3, 1}, Shape{5, 7, 11}, Shape{9, 6, 37}}) {
    for (Metric metric : {Metric::lncc, Metric::mse, Metric::explained}) {
      for (bool started : {false, true}) {
        CHECK(refined(shape, metric, started, 1) == refined(shape, metric, started, 3));
      }
    }
  }
}

void check_ratios() {
  CHECK(is_below_ratio(0.9, -0.010, -0.012) && !is_below_ratio(0.9, -0.010, -0.011));
  CHECK(!is_below_ratio(0.9, -0.010, -0.008) && !is_below_ratio(0.0, -0.010, -0.5));
  CHECK(is_below_ratio(0.9, 0.5, 0.44) && !is_below_ratio(0.9, 0.5, 0.46) && !is_below_ratio(0.0, 0.5, 0.1));
}

void check_rates() {
  const std::vector<double> none, one{0.6}, two{0.4, 0.4};
  CHECK(even_out_rates(0.0) == none && even_out_rates(0.6) == one && even_out_rates(0.8) == two);
  CHECK(even_out_rates(50.0).size() == 8);
}

void check_statistics() {
  std::vector<float> values{3.0f, 1.0f, 2.0f, 5.0f}, one{7.0f}, odd{1.0f, std::numeric_limits<float>::quiet_NaN()};
  CHECK(std::abs(quantile(values, 0.5f) - 2.5f) < 1e-6f && quantile(values, 1.0f) == 5.0f);
  CHECK(quantile(one, 0.99f) == 7.0f && std::isnan(quantile(odd, 0.5f)));
  CHECK(sum_of([](int64_t n) { return static_cast<double>(n); }, 20001) == 10000.0 * 20001.0);
  const Array<float, 2> taps = gaussian_taps({0.5, 0.5, 0.0});
  CHECK(std::abs(taps.data()[0] - 0.787f) < 1e-3f && std::abs(taps.data()[1] - 0.106f) < 1e-3f);
  CHECK(*taps.view().at(2, 0) == 1.0f && *taps.view().at(2, 1) == 0.0f);
}

}  // namespace
}  // namespace lightcrcf::tests

int main() {
  lightcrcf::tests::check_ratios();
  lightcrcf::tests::check_rates();
  lightcrcf::tests::check_statistics();
  lightcrcf::tests::check_refinements();
}
