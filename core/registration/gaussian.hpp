// Sampled Gaussians.
#pragma once

#include <array>

#include "registration/array.hpp"

namespace lightcrcf {

// Return one half of sampled Gaussians along three axes, from the centre outwards; each whole one sums to 1.
//
// sigmas: voxels, finite. Returns (3, R + 1), cut at 2.6 of the largest sigma.
Array<float, 2> gaussian_taps(const std::array<double, 3>& sigmas);

inline Array<float, 2> gaussian_taps(double sigma) { return gaussian_taps({sigma, sigma, sigma}); }

}  // namespace lightcrcf
