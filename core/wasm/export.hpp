// Functions for JavaScript.
//
// Pointers are addresses in the memory of the module, from its `malloc`; arrays are C-contiguous. Sizes are int32, since
// JavaScript's numbers are no int64. Nothing is checked: wrong sizes can harm the memory of the module alone.
#pragma once

#include <cstdint>

#include "base/view.hpp"

#define LIGHTCRCF_EXPORT extern "C" __attribute__((used, visibility("default")))

namespace lightcrcf::wasm {

// Return a view of memory with the sizes of `Rank` axes.
template <int Rank, typename T>
View<T, Rank> view(T* data, const int32_t* sizes) {
  View<T, Rank> result{data, {}};
  for (int axis = 0; axis < Rank; ++axis) result.shape[axis] = sizes[axis];
  return result;
}

// Return a view of a vector field on a grid of sizes (D, H, W).
template <typename T>
View<T, 4> field(T* data, const int32_t* grid) {
  return {data, {3, grid[0], grid[1], grid[2]}};
}

}  // namespace lightcrcf::wasm
