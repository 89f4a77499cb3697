// Squared local correlation of two images, and the force that raises it.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"
#include "refinement/image_pair.hpp"

namespace lightcrcf {

// Constants of the local correlation.
struct CorrelationLimits {
  float floor;  // added to the product of the variances: flat windows are uncorrelated
  float noise;  // variance of the difference of both images that is due to noise, squared units of the fixed image
};

// Compute the sum of s cc over all windows, and the terms of its gradient.
//
//   cc = cov(f, m)^2 / (var(f) var(m) + floor),   s = var(f)^(1/2),
//   cc is limited to (var(f) - noise) var(m) / (var(f) var(m) + floor), and exerts no force there.
//
// With weights, windows of which they cover 0.2 or less count for nothing.
// out: (3, D, H, W) = (P, Q, R), overwritten: d(sum of s cc)/dm = w (f sum P + m sum Q - sum R), with sums over the
// windows that contain a voxel.
// sums: (3, H), overwritten: the sums of s cc, of s, and of s times the limit of cc, over the windows of each row.
LIGHTCRCF_KERNEL(void, correlation_terms,
                 (const ImagePair& images, CorrelationLimits limits, Field out, View<double, 2> sums))

// Compute the force d(sum of s cc)/dm times the gradient of the moved image, of central differences.
//
// terms: (3, D, H, W) from `correlation_terms`; out: (3, D, H, W), overwritten.
LIGHTCRCF_KERNEL(void, correlation_force, (const ImagePair& images, ConstField terms, Field out))

}  // namespace lightcrcf
