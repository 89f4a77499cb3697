// 3x3x3 convolution in float32 for few channels on large grids. Vectors run along voxels, so that the number of channels
// need not be a multiple of a vector's length.
#pragma once

#include "base/dispatch.hpp"
#include "base/view.hpp"
#include "network/channels.hpp"

namespace lightcrcf {

// out[o](x) = leaky_relu(bias[o] + start[o](x) + sum over c and d in {-1, 0, 1}^3 of weight[o, c, d] source[c](x + d)),
// with source 0 outside, by Winograd's minimal filtering F(4, 3) across rows: four output lines from six transformed
// input lines, with half of the multiplications.
//
// source: C channels of (D, H, W); start: (O, D, H, W) or of no channels; out: (O, D, H, W), not start, overwritten.
// Weights of a group, transformed: (6, C, 3 planes, 3 columns, outputs).
//
// Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.3.
LIGHTCRCF_KERNEL(void, convolve,
                 (const Channels<float>& source, const Weights<float>& weights, ConstField start, Field out))

// out[o](x) = leaky_relu(bias[o] + sum over c and d of weight[o, c, d] source[c](stride x + d)).
//
// out: (O, ceil(D / stride), ...); stride: 1 or 2 along each axis. Weights of a group: (C, 27, outputs).
LIGHTCRCF_KERNEL(void, convolve_strided,
                 (const Channels<float>& source, const Weights<float>& weights, const int64_t (&stride)[3], Field out))

}  // namespace lightcrcf
