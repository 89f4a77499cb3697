// Local variance of an image that 1, f and f^2 of another explain, and the force that raises it.
//
// In each window the moved image m is regressed on 1, f and f^2 of the fixed image, which fits any contrast of three
// tissues: R^2 = c' S^-1 c / (var(m) + floor), with c the covariances of m with f and f^2, and S the covariance matrix
// of f and f^2.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"
#include "refinement/image_pair.hpp"

namespace lightcrcf {

// Constants of the regression, for images of unit range.
struct ExplainedLimits {
  float ridge;              // on the diagonal of S
  float floor;              // added to variances: flat windows count as unexplained
  float noise[2] = {0, 0};  // variances of the noise of the fixed and of the moved image
};

// Compute what all steps with the same fixed image and weights share.
//
// images: of which `moved` is not read. With weights, windows of which they cover 0.2 or less count for nothing.
// out: (5, D, H, W), overwritten: the means of f and f^2, and p, q, r with (p c1)^2 + (q c2 + r c1)^2 = c' S^-1 c.
LIGHTCRCF_KERNEL(void, explained_basis, (const ImagePair& images, ExplainedLimits limits, Field out))

// Compute the sum of s R^2 over all windows, s = var(f)^(1/2), and the terms of its gradient.
//
// R^2 is limited to (1 - noise / var) of one image times that of the other, and exerts no force there.
// basis: (5, D, H, W) from `explained_basis`.
// out: (4, D, H, W) = (P1, P2, Q, C), overwritten: d(sum of s R^2)/dm = w (f sum P1 + f f sum P2 - m sum Q - sum C).
// sums: (3, H), overwritten: the sums of s R^2, of s, and of s times the limit of R^2, over the windows of each row.
LIGHTCRCF_KERNEL(void, explained_terms,
                 (const ImagePair& images, ExplainedLimits limits, ConstField basis, Field out, View<double, 2> sums))

// Compute the force d(sum of s R^2)/dm times the gradient of the moved image, of central differences.
//
// terms: (4, D, H, W) from `explained_terms`; out: (3, D, H, W), overwritten.
LIGHTCRCF_KERNEL(void, explained_force, (const ImagePair& images, ConstField terms, Field out))

}  // namespace lightcrcf
