#include "base/cpu.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#if LIGHTCRCF_X86
#include <cpuid.h>
#endif

namespace lightcrcf {
namespace {

#if LIGHTCRCF_X86
// What the processor and the operating system support. Compilers' __builtin_cpu_supports needs a run-time library that
// not every compiler brings.
struct Features {
  uint32_t basic = 0, structured = 0, extended = 0;  // ECX of leaf 1, EBX of leaf 7.0, EAX of leaf 7.1
  uint64_t saved = 0;                                // registers that the operating system saves: XCR0
};

Features read_features() {
  Features found;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  found.basic = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    found.structured = b;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) found.extended = a;
  }
  if (found.basic >> 27 & 1) {  // OSXSAVE
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    found.saved = static_cast<uint64_t>(high) << 32 | low;
  }
  return found;
}

constexpr bool has_all(uint64_t bits, uint64_t wanted) { return (bits & wanted) == wanted; }

Isa detect() {
  constexpr uint32_t fma_avx_f16c = 1u << 12 | 1u << 28 | 1u << 29, avx2 = 1u << 5;
  constexpr uint32_t avx512_f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, bf16 = 1u << 5;
  constexpr uint64_t ymm = 0x6, zmm = 0xe6;
  const Features cpu = read_features();
  if (!has_all(cpu.basic, fma_avx_f16c) || !has_all(cpu.structured, avx2) || !has_all(cpu.saved, ymm)) {
    return Isa::baseline;
  }
  if (!has_all(cpu.structured, avx512_f_dq_bw_vl) || !has_all(cpu.saved, zmm)) return Isa::avx2;
  return has_all(cpu.extended, bf16) ? Isa::avx512bf16 : Isa::avx512;
}
#else
Isa detect() { return Isa::baseline; }
#endif

// Return the detected instruction set, or a lower one that LIGHTCRCF_ISA names, for tests.
Isa initial_isa() {
  const char* limit = std::getenv("LIGHTCRCF_ISA");
  for (Isa level : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (limit != nullptr && level < detected_isa() && std::strcmp(limit, isa_name(level)) == 0) return level;
  }
  return detected_isa();
}

std::atomic<Isa>& current() {
  static std::atomic<Isa> value{initial_isa()};
  return value;
}

}  // namespace

Isa detected_isa() {
  static const Isa value = detect();
  return value;
}

const char* isa_name(Isa level) {
  constexpr const char* names[] = {"baseline", "avx2", "avx512", "avx512bf16"};
  return names[static_cast<int>(level)];
}

Isa isa() { return current().load(std::memory_order_relaxed); }

void limit_isa(Isa limit) { current().store(limit < detected_isa() ? limit : detected_isa()); }

}  // namespace lightcrcf
