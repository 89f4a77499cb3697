// Scratch memory of kernels. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace lightcrcf::LIGHTCRCF_ISA {

// An array of plain values, uninitialised or zero, aligned to 64 bytes, freed with its scope.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t size) : block_(std::malloc(size * sizeof(T) + 64)) {
    if (block_ == nullptr) std::abort();  // a few MB; the large arrays come from the caller
    data_ = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(block_) + 63) & ~uintptr_t{63});
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(block_); }

  [[gnu::always_inline]] T* get() const { return data_; }
  [[gnu::always_inline]] T& operator[](int64_t index) const { return data_[index]; }

 private:
  void* block_;
  T* data_;
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
