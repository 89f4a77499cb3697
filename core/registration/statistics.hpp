// Sums and quantiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "registration/array.hpp"

namespace lightcrcf {

// Return the sum of value(0), ..., value(count - 1) by halves: rounding errors grow with the logarithm of the count.
template <typename Value>
double pairwise_sum(const Value& value, int64_t begin, int64_t count) {
  constexpr int64_t block = 128, lanes = 8;
  if (count > block) {
    const int64_t half = count / 2 / lanes * lanes;
    return pairwise_sum(value, begin, half) + pairwise_sum(value, begin + half, count - half);
  }
  int64_t n = 0;
  double total = 0.0;
  if (count >= lanes) {
    double r[lanes];
    for (; n < lanes; ++n) r[n] = value(begin + n);
    for (; n + lanes <= count; n += lanes) {
      for (int64_t lane = 0; lane < lanes; ++lane) r[lane] += value(begin + n + lane);
    }
    total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  }
  for (; n < count; ++n) total += value(begin + n);
  return total;
}

// Return the sum of many values, whatever the number of threads.
template <typename Value>
double sum_of(const Value& value, int64_t count) {
  const int64_t part = 8192;
  std::vector<double> sums(static_cast<size_t>((count + part - 1) / part));
  double* const each = sums.data();
  parallel_for(static_cast<int64_t>(sums.size()), [&value, each, count, part](int64_t n) {
    each[n] = pairwise_sum(value, n * part, std::min(part, count - n * part));
  });
  double total = 0.0;
  for (double sum : sums) total += sum;
  return total;
}

// Return a quantile, interpolated linearly; NaN where any value is. `values` are reordered, and at least one.
inline float quantile(std::vector<float>& values, float share) {
  if (std::any_of(values.begin(), values.end(), [](float value) { return std::isnan(value); })) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  const float place = static_cast<float>(values.size() - 1) * share, below = std::floor(place);
  const auto at = values.begin() + std::min(static_cast<int64_t>(below), static_cast<int64_t>(values.size()) - 1);
  std::nth_element(values.begin(), at, values.end());
  if (at + 1 == values.end()) return *at;
  const float low = *at, high = *std::min_element(at + 1, values.end()), t = place - below;
  return t < 0.5f ? low + (high - low) * t : high - (high - low) * (1.0f - t);
}

}  // namespace lightcrcf
