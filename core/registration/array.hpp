// Arrays that own their memory, for code outside of kernels.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/parallel.hpp"
#include "base/view.hpp"

namespace lightcrcf {

// Sizes of a grid.
using Shape = std::array<int64_t, 3>;

// Return uninitialised memory, aligned to 64 bytes; throws std::bad_alloc.
void* allocate(size_t bytes);

void release(void* memory);

// A C-contiguous array of plain values, uninitialised.
template <typename T, int Rank>
class Array {
 public:
  Array() = default;

  template <typename... Size>
  explicit Array(int64_t first, Size... sizes) : view_{nullptr, {first, static_cast<int64_t>(sizes)...}} {
    static_assert(1 + sizeof...(Size) == Rank, "one size per axis");
    memory_.reset(static_cast<T*>(allocate(static_cast<size_t>(view_.size()) * sizeof(T))));
    view_.data = memory_.get();
  }

  View<T, Rank> view() const { return view_; }
  operator View<T, Rank>() const { return view_; }
  operator View<const T, Rank>() const { return view_; }
  T* data() const { return view_.data; }
  int64_t size() const { return view_.data == nullptr ? 0 : view_.size(); }

  // Give the memory away; the receiver calls `release`.
  T* detach() { return memory_.release(); }

 private:
  struct Release {
    void operator()(T* memory) const { release(memory); }
  };

  std::unique_ptr<T, Release> memory_;
  View<T, Rank> view_{nullptr, {}};
};

using VolumeArray = Array<float, 3>;
using FieldArray = Array<float, 4>;

inline VolumeArray make_volume(const Shape& shape) { return VolumeArray(shape[0], shape[1], shape[2]); }

inline FieldArray make_field(int64_t channels, const Shape& shape) {
  return FieldArray(channels, shape[0], shape[1], shape[2]);
}

// Return the sizes of a grid, the last three axes.
template <typename T, int Rank>
Shape shape_of(const View<T, Rank>& view) {
  return {view.shape[Rank - 3], view.shape[Rank - 2], view.shape[Rank - 1]};
}

// Return a volume as the only channel of a field.
template <typename T>
View<T, 4> as_field(const View<T, 3>& volume) {
  return {volume.data, {1, volume.shape[0], volume.shape[1], volume.shape[2]}};
}

// Return the first channels of a field.
inline Field first_channels(const Field& field, int64_t count) {
  return {field.data, {count, field.shape[1], field.shape[2], field.shape[3]}};
}

// Call body(first, last) for parts of [0, count), in parallel. Bodies do not throw.
template <typename Body>
void for_parts(int64_t count, const Body& body) {
  constexpr int64_t part = 1 << 15;
  parallel_for((count + part - 1) / part,
               [&](int64_t n) { body(n * part, std::min(count, (n + 1) * part)); });
}

// to = from, of `count` values.
inline void copy_values(const float* from, int64_t count, float* to) {
  for_parts(count, [=](int64_t first, int64_t last) {
    std::memcpy(to + first, from + first, static_cast<size_t>(last - first) * sizeof(float));
  });
}

inline void fill_values(float value, int64_t count, float* to) {
  for_parts(count, [=](int64_t first, int64_t last) { std::fill(to + first, to + last, value); });
}

inline FieldArray copy_of(const ConstField& field) {
  FieldArray copy = make_field(field.shape[0], shape_of(field));
  copy_values(field.data, field.size(), copy.data());
  return copy;
}

// A volume that is borrowed or owned; without data where there is none.
class Image {
 public:
  Image() = default;
  Image(ConstVolume borrowed) : view_(borrowed) {}
  Image(VolumeArray owned) : owned_(std::move(owned)), view_(owned_) {}

  ConstVolume view() const { return view_; }
  operator ConstVolume() const { return view_; }
  const float* data() const { return view_.data; }
  int64_t size() const { return view_.size(); }
  explicit operator bool() const { return view_.data != nullptr; }

  // Return the values, to change them: a copy of what was borrowed.
  Volume own() {
    if (owned_.data() == nullptr) {
      owned_ = make_volume(shape_of(view_));
      copy_values(view_.data, view_.size(), owned_.data());
      view_ = owned_;
    }
    return owned_;
  }

  // Return the owned array, and keep nothing.
  VolumeArray take() {
    own();
    view_ = {nullptr, {}};
    return std::move(owned_);
  }

 private:
  VolumeArray owned_;
  ConstVolume view_{nullptr, {}};
};

}  // namespace lightcrcf
