#include "fields/determinant.hpp"
#include "fields/folds.hpp"
#include "fields/inverse.hpp"
#include "fields/mark.hpp"
#include "fields/unfold.hpp"
#include "fields/warp_gradients.hpp"
#include "fields/window_mean.hpp"
#include "kernels.hpp"

namespace {

constexpr lightcrcf::Accuracy kAccuracy{5, 1e-3};
constexpr lightcrcf::Repair kRepair{10.0f, 12.0f, 1.0f};

}  // namespace

KERNEL(jacobian_determinant, a.in(3, d, h, w), a.out(d, h, w))
KERNEL(determinants_at, a.in(3, d, h, w), a.integers<int64_t>(0, d * h * w, 9), a.out(9))
KERNEL(even_out, a.update(3, d, h, w), a.in(d, h, w), 0.1f)
KERNEL(mark_cubes, a.integers<int64_t>(0, d * h * w, 3), 1, a.out<uint8_t>(d, h, w))
KERNEL(window_mean, a.in(2, d, h, w), 0, a.out(2, d, h, w))
KERNEL(window_mean, a.in(2, d, h, w), 3, a.out(2, d, h, w))
KERNEL(warp_gradient, a.in(2, d, h, w), a.in(3, d, h, w), a.in(2, d, h, w), a.out(3, d, h, w))
KERNEL(warp_features_gradient, a.in(3, d, h, w), a.in(2, d, h, w), a.out(2, d, h, w))
KERNEL(displacement_at, a.in(3, d, h, w), a.in<double>(19, 3), a.out<double>(19, 3))
KERNEL(invert_at, a.in(3, d, h, w), a.in<double>(19, 3), kAccuracy, a.out<double>(19, 3))
KERNEL(invert, a.in(3, d, h, w), kAccuracy, a.out(3, d, h, w))
KERNEL(lowest_determinants, a.in(3, d, h, w), a.out(d + 1, h + 1, w + 1))
KERNEL(unfold, a.update(3, d, h, w), a.integers<int64_t>(0, (d + 1) * (h + 1) * (w + 1), 1), kRepair, a.out<uint8_t>(1))
KERNEL(smooth_at, a.in(3, d, h, w), a.integers<int64_t>(0, d * h * w, 9), a.out(3, 9))
