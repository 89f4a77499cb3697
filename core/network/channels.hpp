// The input of convolutions: channels of several arrays on one grid, which need not be concatenated.
#pragma once

#include <cstdint>

namespace lightcrcf {

// Addresses of `count` channels of shape (D, H, W): of float32, or of pairs of bfloat16 (bfloat16_convolution.hpp).
template <typename T>
struct Channels {
  const T* const* data;
  int64_t count;
  int64_t shape[3];
};

// Packed weights. Output channels are in groups of 8; the last group is of 4 if it has at most 4. The weights of a group
// are contiguous, with its outputs as the last axis.
template <typename T>
struct Weights {
  const T* weight;
  const float* bias;  // padded to whole groups
  float slope;        // of the leaky ReLU that follows; 1 for none
  int64_t outputs;
};

constexpr int64_t kGroup = 8, kHalfGroup = 4;

// Return the outputs of all groups.
[[gnu::always_inline]] inline constexpr int64_t padded_outputs(int64_t outputs) {
  return (outputs + kHalfGroup - 1) / kHalfGroup * kHalfGroup;
}

}  // namespace lightcrcf
