// Declaration of kernels: one function per instruction set, and a dispatcher with the same name.
//
// A header declares   LIGHTCRCF_KERNEL(void, warp, (View<const float, 4> features, ...))
// The source defines  namespace lightcrcf::LIGHTCRCF_ISA { void warp(...) {...} }
// Callers write       lightcrcf::warp(features, ...);
//
// Kernel files are compiled with different flags, but the linker keeps only one copy of each inline function. An inline
// function or template outside of the namespace of the instruction set could be kept in a version that this processor
// cannot run. So helpers of kernels live in that namespace, and kernels use no std containers; tests/symbols.py checks it.
#pragma once

#include "base/cpu.hpp"

#if LIGHTCRCF_X86
#define LIGHTCRCF_KERNEL(result, name, parameters)                                        \
  namespace baseline { result name parameters; }                                          \
  namespace avx2 { result name parameters; }                                              \
  namespace avx512 { result name parameters; }                                            \
  inline constexpr ::lightcrcf::Dispatcher<result(*) parameters> name{baseline::name, avx2::name, avx512::name};
#define LIGHTCRCF_BFLOAT16_KERNEL(result, name, parameters) \
  namespace avx512bf16 { result name parameters; }          \
  inline constexpr ::lightcrcf::Bfloat16Kernel<result(*) parameters> name{avx512bf16::name};
#else
#define LIGHTCRCF_KERNEL(result, name, parameters) \
  namespace baseline { result name parameters; }   \
  inline constexpr ::lightcrcf::Dispatcher<result(*) parameters> name{baseline::name, baseline::name, baseline::name};
#define LIGHTCRCF_BFLOAT16_KERNEL(result, name, parameters) \
  inline constexpr ::lightcrcf::Bfloat16Kernel<result(*) parameters> name{nullptr};
#endif

namespace lightcrcf {

template <typename Function>
struct Dispatcher {
  Function baseline, avx2, avx512;

  template <typename... Arguments>
  auto operator()(Arguments&&... arguments) const {
    const Isa level = isa();
    const Function chosen = level >= Isa::avx512 ? avx512 : level == Isa::avx2 ? avx2 : baseline;
    return chosen(static_cast<Arguments&&>(arguments)...);
  }
};

// A kernel that exists for AVX512-BF16 only, in a file with "bfloat16" in its name.
template <typename Function>
struct Bfloat16Kernel {
  Function function;

  // Return whether this processor can run it; otherwise it must not be called.
  bool available() const { return function != nullptr && isa() >= Isa::avx512bf16; }

  template <typename... Arguments>
  auto operator()(Arguments&&... arguments) const {
    return function(static_cast<Arguments&&>(arguments)...);
  }
};

}  // namespace lightcrcf
