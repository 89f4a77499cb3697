// Starts of an affine alignment: the headers, and centroids in every orientation.
#pragma once

#include <vector>

#include "registration/affine_matrix.hpp"

namespace lightcrcf {

// Return 96 rotations: the 24 of the cube, the identity first, then those with 45 degrees about each axis. No orientation
// is farther than 45 degrees from one of them.
std::vector<Matrix4> rotations();

// Return the alignment of the headers (the identity) and of the centroids, or the alignments of the centroids under each
// rotation but the identity.
std::vector<Matrix4> affine_starts(const Vector3& fixed_centroid_mm, const Vector3& moving_centroid_mm, bool upright);

}  // namespace lightcrcf
