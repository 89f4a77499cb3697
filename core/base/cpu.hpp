// The instruction sets that kernels are compiled for, and the one in use.
#pragma once

namespace lightcrcf {

enum class Isa { baseline, avx2, avx512, avx512bf16 };

// Return the best instruction set of this processor and operating system.
Isa detected_isa();

// Return the name of an instruction set.
const char* isa_name(Isa level);

// Return the instruction set of the kernels: the detected one, or a lower one from LIGHTCRCF_ISA or `limit_isa`.
Isa isa();

// Limit kernels to an instruction set, for tests; the detected one if that is lower.
void limit_isa(Isa limit);

}  // namespace lightcrcf
