// A step of the refinement: momentum, composition with a short step, and limits of lengths.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// total = keep total + scale addend, both (3, D, H, W); with keep 0, `total` is not read.
LIGHTCRCF_KERNEL(void, accumulate, (Field total, float keep, ConstField addend, float scale))

// A step: `scale` times a field, limited to the length `longest`, which is at most 1 voxel.
struct Step {
  ConstField direction;  // (3, D, H, W) voxels
  float scale, longest;
};

// Compute u o (id + v) = v(x) + u(x + v(x)), trilinear, clamped at the borders; v is the step.
//
// field u, out: (3, D, H, W) voxels; out is neither u nor the step.
LIGHTCRCF_KERNEL(void, compose_step, (ConstField field, const Step& step, Field out))

// Multiply vectors (3, D, H, W) by `scale` in place, and shorten those that are longer than `longest` to that length.
LIGHTCRCF_KERNEL(void, limit_lengths, (Field vectors, float scale, float longest))

}  // namespace lightcrcf
