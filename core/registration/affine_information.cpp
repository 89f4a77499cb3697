// Fisher scoring of mutual information.
//
// With L = log p(f, m) / (p(f) p(m)) at each sample, its slope s = dL/dm and g = s dm/dmatrix, the descent is the mean of g,
// and the Hessian the mean of g g^T. The information is the mean of L; the derivative of the histogram itself vanishes to
// first order. Source: Viola and Wells, Alignment by maximization of mutual information, IJCV 1997.
#include <algorithm>
#include <cmath>

#include "affine/histogram.hpp"
#include "affine/normal_equations.hpp"
#include "registration/affine_system.hpp"
#include "registration/sample_threads.hpp"

namespace lightcrcf {
namespace {

constexpr int kBins = 32;
constexpr double kTop = 1.2;               // centre of the last bin
constexpr double kPriorProbability = 1e-7;  // of each pair of bins, so that logarithms are finite

using Table = std::vector<double>;  // (bins, bins)

// Return the matrix of a Gaussian filter of one bin that preserves sums.
Table gaussian() {
  Table filter(kBins * kBins);
  for (int column = 0; column < kBins; ++column) {
    double sum = 0.0;
    for (int row = 0; row < kBins; ++row) {
      const double distance = row - column;
      sum += filter[row * kBins + column] = std::exp(-0.5 * distance * distance);
    }
    for (int row = 0; row < kBins; ++row) filter[row * kBins + column] /= sum;
  }
  return filter;
}

// Return filter @ table, transposed; twice, it is filter @ table @ filter^T.
Table filter_rows(const Table& filter, const Table& table) {
  Table result(kBins * kBins);
  for (int row = 0; row < kBins; ++row) {
    for (int n = 0; n < kBins; ++n) {
      for (int column = 0; column < kBins; ++column) {
        result[column * kBins + row] += filter[row * kBins + n] * table[n * kBins + column];
      }
    }
  }
  return result;
}

double sum_of(const Table& table) {
  double sum = 0.0;
  for (double value : table) sum += value;
  return sum;
}

// Return the probabilities of a smoothed histogram.
Table probabilities(const Table& joint) {
  const Table filter = gaussian();
  Table table = filter_rows(filter, filter_rows(filter, joint));
  const double total = sum_of(table);
  for (double& value : table) value = value / total + kPriorProbability;
  const double again = sum_of(table);
  for (double& value : table) value /= again;
  return table;
}

// Return log p(f, m) / (p(f) p(m)) and its mean, the mutual information.
std::pair<Table, double> log_ratio(const Table& joint) {
  Table table = probabilities(joint);
  double rows[kBins] = {}, columns[kBins] = {}, information = 0.0;
  for (int n = 0; n < kBins * kBins; ++n) {
    rows[n / kBins] += table[n];
    columns[n % kBins] += table[n];
  }
  for (int n = 0; n < kBins * kBins; ++n) {
    const double probability = table[n];
    table[n] = std::log(probability) - std::log(rows[n / kBins]) - std::log(columns[n % kBins]);
    information += probability * table[n];
  }
  return {table, information};
}

// Return the differences along each row per unit of intensity: central, and one-sided at the ends.
Table slopes_along_rows(const Table& table) {
  constexpr double spacing = kTop / (kBins - 1);
  Table slopes(kBins * kBins);
  for (int row = 0; row < kBins; ++row) {
    for (int column = 0; column < kBins; ++column) {
      const int before = std::max(column - 1, 0), after = std::min(column + 1, kBins - 1);
      slopes[row * kBins + column] =
          (table[row * kBins + after] - table[row * kBins + before]) / ((after - before) * spacing);
    }
  }
  return slopes;
}

}  // namespace

AffineSystem information_system(const OneSided& samples) {
  const Alignment images{samples.reference.image, samples.reference.samples, samples.other.image, samples.other.valid,
                         samples.other.blank_outside};
  const Matrix4 matrix = samples.index();
  const Matrix index{matrix.values.data(), {3, 4}};
  const SampleThreads threads(images.fixed.size());
  Table joint(kBins * kBins);
  joint_histogram(images, index, kTop, View<double, 2>{joint.data(), {kBins, kBins}});
  const double weight = sum_of(joint);
  if (!(weight * samples.reference.litres_per_weight >= std::max(samples.least_litres, 1e-30))) {
    return AffineSystem::invalid(samples.derivatives.size());
  }
  const auto [ratio, information] = log_ratio(joint);
  const Table slopes = slopes_along_rows(ratio);
  double sums[15][15], hessian[144], descent[12];
  fisher_sums(images, index, View<const double, 2>{slopes.data(), {kBins, kBins}}, kTop,
              View<double, 2>{&sums[0][0], {15, 15}});
  for (int row = 0; row < 12; ++row) {
    descent[row] = sums[row][13] / weight;
    for (int column = 0; column < 12; ++column) hessian[row * 12 + column] = sums[row][column] / weight;
  }
  return samples.system(-information, hessian, descent);
}

}  // namespace lightcrcf
