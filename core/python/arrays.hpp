// Arrays of Python at the boundary of the core: checked, never copied.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "base/view.hpp"

namespace nanobind::detail {

// Views take NumPy arrays of their type and rank that are C-contiguous and aligned, and writable unless T is const.
// Anything else raises TypeError; nothing is converted.
template <typename T, int Rank>
struct type_caster<lightcrcf::View<T, Rank>> {
  using View = lightcrcf::View<T, Rank>;
  using Array = ndarray<T, numpy, ndim<Rank>, c_contig, device::cpu>;
  NB_TYPE_CASTER(View, const_name("") + make_caster<Array>::Name)

  bool from_python(handle source, uint8_t flags, cleanup_list* cleanup) noexcept {
    if (!array.from_python(source, flags & ~static_cast<uint8_t>(cast_flags::convert), cleanup)) return false;
    value.data = array.value.data();
    if (reinterpret_cast<uintptr_t>(value.data) % alignof(T) != 0) return false;
    for (int axis = 0; axis < Rank; ++axis) value.shape[axis] = static_cast<int64_t>(array.value.shape(axis));
    return true;
  }

  make_caster<Array> array;  // holds the memory during the call
};

}  // namespace nanobind::detail

namespace lightcrcf::python {

namespace nb = nanobind;

// A view that keeps its array alive beyond the call, or within a sequence that another thread may change.
template <typename T, int Rank>
struct Held {
  View<T, Rank> view;
  nb::object owner;
};

}  // namespace lightcrcf::python

namespace nanobind::detail {

template <typename T, int Rank>
struct type_caster<lightcrcf::python::Held<T, Rank>> {
  using Held = lightcrcf::python::Held<T, Rank>;
  using Caster = make_caster<lightcrcf::View<T, Rank>>;
  NB_TYPE_CASTER(Held, Caster::Name)

  bool from_python(handle source, uint8_t flags, cleanup_list* cleanup) noexcept {
    Caster caster;
    if (!caster.from_python(source, flags, cleanup)) return false;
    value = {caster.value, borrow(source)};
    return true;
  }
};

}  // namespace nanobind::detail

namespace lightcrcf::python {

// Raise ValueError unless `condition`.
inline void require(bool condition, const char* message) {
  if (!condition) throw nb::value_error(message);
}

// Raise ValueError unless two arrays have the same sizes from axis `first` on.
template <typename A, typename B, int Rank>
void require_same_grid(const View<A, Rank>& a, const View<B, Rank>& b, int first = 0) {
  for (int axis = first; axis < Rank; ++axis) require(a.shape[axis] == b.shape[axis], "arrays differ in shape");
}

// The greatest float32 below 2^31: so many voxels have int32 indices, also where an index comes from a float32.
constexpr int64_t kMostVoxels = 2147483520;

// Raise ValueError for a grid (the last three axes) without voxels, or with more than a flat int32 index can address.
template <typename T, int Rank>
void require_indexable(const View<T, Rank>& view) {
  static_assert(Rank >= 3, "a grid has three axes");
  int64_t voxels = 1;
  for (int axis = Rank - 3; axis < Rank; ++axis) {
    require(view.shape[axis] > 0, "an array is empty");
    require(voxels <= kMostVoxels / view.shape[axis], "an array has 2^31 voxels or more");
    voxels *= view.shape[axis];
  }
}

// Raise ValueError if a result shares memory with an input.
template <typename T, int M, typename U, int N>
void require_apart(const View<T, M>& out, const View<U, N>& input) {
  const auto begin = [](const auto& view) { return reinterpret_cast<uintptr_t>(view.data); };
  const auto end = [&](const auto& view) { return begin(view) + view.size() * sizeof(*view.data); };
  require(end(out) <= begin(input) || end(input) <= begin(out), "a result shares memory with an input");
}

}  // namespace lightcrcf::python
