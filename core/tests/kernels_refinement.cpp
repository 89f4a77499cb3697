#include "kernels.hpp"
#include "refinement/correlation.hpp"
#include "refinement/explained.hpp"
#include "refinement/smooth.hpp"
#include "refinement/step.hpp"

namespace {

// A pair of images, with weights for odd radii.
lightcrcf::ImagePair pair(const lightcrcf::tests::Grid& grid, lightcrcf::tests::Arrays& a, int64_t radius) {
  const int64_t d = grid.d, h = grid.h, w = grid.w;
  const lightcrcf::ConstVolume weight = radius % 2 == 1 ? a.in(d, h, w) : lightcrcf::ConstVolume{nullptr, {}};
  return {a.in(d, h, w), a.in(d, h, w), weight, radius};
}

constexpr lightcrcf::CorrelationLimits kLimits{1e-3f, 1e-2f};
constexpr lightcrcf::ExplainedLimits kExplained{};

}  // namespace

KERNEL(correlation_terms, pair(grid, a, 1), kLimits, a.out(3, d, h, w), a.out<double>(3, h))
KERNEL(correlation_terms, pair(grid, a, 4), kLimits, a.out(3, d, h, w), a.out<double>(3, h))
KERNEL(correlation_force, pair(grid, a, 1), a.in(3, d, h, w), a.out(3, d, h, w))
KERNEL(correlation_force, pair(grid, a, 4), a.in(3, d, h, w), a.out(3, d, h, w))
KERNEL(explained_basis, pair(grid, a, 1), kExplained, a.out(5, d, h, w))
KERNEL(explained_basis, pair(grid, a, 4), kExplained, a.out(5, d, h, w))
KERNEL(explained_terms, pair(grid, a, 1), kExplained, a.in(5, d, h, w), a.out(4, d, h, w), a.out<double>(3, h))
KERNEL(explained_terms, pair(grid, a, 4), kExplained, a.in(5, d, h, w), a.out(4, d, h, w), a.out<double>(3, h))
KERNEL(explained_force, pair(grid, a, 1), a.in(4, d, h, w), a.out(3, d, h, w))
KERNEL(explained_force, pair(grid, a, 4), a.in(4, d, h, w), a.out(3, d, h, w))
KERNEL(smooth, a.in(2, d, h, w), a.in(3, 4), a.out(2, d, h, w))
KERNEL(smooth, a.in(1, d, h, w), a.in(3, 1), a.out(1, d, h, w))
KERNEL(accumulate, a.update(3, d, h, w), 0.9f, a.in(3, d, h, w), 0.5f)
KERNEL(limit_lengths, a.update(3, d, h, w), 2.0f, 1.0f)
KERNEL(compose_step, a.in(3, d, h, w), lightcrcf::Step{a.in(3, d, h, w), 0.5f, 1.0f}, a.out(3, d, h, w))
