#include "base/cpu.hpp"

#include <atomic>

namespace lightcrcf {
namespace {

Isa detect() {
#if LIGHTCRCF_X86
  __builtin_cpu_init();  // also asks the operating system whether it saves the registers
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::baseline;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return Isa::avx2;
  return __builtin_cpu_supports("avx512bf16") ? Isa::avx512bf16 : Isa::avx512;
#else
  return Isa::baseline;
#endif
}

std::atomic<Isa>& current() {
  static std::atomic<Isa> value{detected_isa()};
  return value;
}

}  // namespace

Isa detected_isa() {
  static const Isa value = detect();
  return value;
}

Isa isa() { return current().load(std::memory_order_relaxed); }

void limit_isa(Isa limit) { current().store(limit < detected_isa() ? limit : detected_isa()); }

}  // namespace lightcrcf
