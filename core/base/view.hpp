// Views of C-contiguous arrays.
#pragma once

#include <cstdint>

namespace lightcrcf {

// A C-contiguous array of `Rank` axes whose memory belongs to the caller.
template <typename T, int Rank>
struct View {
  T* data;
  int64_t shape[Rank];

  // Return the address of the part at these indices along the first axes; no bounds check.
  template <typename... Index>
  [[gnu::always_inline]] T* at(Index... index) const {
    static_assert(sizeof...(Index) >= 1 && sizeof...(Index) <= Rank, "one index per axis");
    const int64_t indices[] = {static_cast<int64_t>(index)...};
    int64_t offset = 0;
    for (int axis = 0; axis < Rank; ++axis) {
      offset = offset * shape[axis] + (axis < static_cast<int>(sizeof...(Index)) ? indices[axis] : 0);
    }
    return data + offset;
  }

  [[gnu::always_inline]] int64_t size() const {
    int64_t product = 1;
    for (int axis = 0; axis < Rank; ++axis) product *= shape[axis];
    return product;
  }

  // Return part `index` of the first axis.
  [[gnu::always_inline]] View<T, Rank - 1> operator[](int64_t index) const {
    View<T, Rank - 1> part{at(index), {}};
    for (int axis = 1; axis < Rank; ++axis) part.shape[axis - 1] = shape[axis];
    return part;
  }

  [[gnu::always_inline]] operator View<const T, Rank>() const {
    View<const T, Rank> same{data, {}};
    for (int axis = 0; axis < Rank; ++axis) same.shape[axis] = shape[axis];
    return same;
  }
};

using Volume = View<float, 3>;
using ConstVolume = View<const float, 3>;
using Field = View<float, 4>;  // also features: (C, D, H, W)
using ConstField = View<const float, 4>;

}  // namespace lightcrcf
