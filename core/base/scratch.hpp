// Scratch memory of kernels. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace lightcrcf::LIGHTCRCF_ISA {

// An uninitialised array of plain values, aligned to 64 bytes, freed with its scope. The allocation ends with the array,
// so that sanitizers see each access beyond it.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t size)
      : data_(static_cast<T*>(::operator new(static_cast<size_t>(size) * sizeof(T), kAlignment, std::nothrow))) {
    if (data_ == nullptr) std::abort();  // a few MB; the large arrays come from the caller
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { ::operator delete(data_, kAlignment); }

  [[gnu::always_inline]] T* get() const { return data_; }
  [[gnu::always_inline]] T& operator[](int64_t index) const { return data_[index]; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_;
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
