#include "registration/gaussian.hpp"

#include <cmath>
#include <vector>

#include "registration/statistics.hpp"

namespace lightcrcf {

Array<float, 2> gaussian_taps(const std::array<double, 3>& sigmas) {
  constexpr double least = 1e-3, cut = 2.6;
  double largest = least;
  for (double sigma : sigmas) largest = std::max(largest, sigma);
  const auto count = static_cast<int64_t>(std::ceil(cut * largest)) + 1;
  Array<float, 2> taps(3, count);
  std::vector<double> half(static_cast<size_t>(count));
  for (int64_t axis = 0; axis < 3; ++axis) {
    const double sigma = std::max(sigmas[axis], least);
    for (int64_t n = 0; n < count; ++n) {
      const double distance = static_cast<double>(n) / sigma;
      half[n] = std::exp(-0.5 * (distance * distance));
    }
    const double whole = 2.0 * pairwise_sum([&](int64_t n) { return half[n]; }, 0, count) - half[0];
    for (int64_t n = 0; n < count; ++n) *taps.view().at(axis, n) = static_cast<float>(half[n] / whole);
  }
  return taps;
}

}  // namespace lightcrcf
