// Hints for loops that the compiler vectorises.
#pragma once

// Before a loop: no iteration reads what another one writes. `__restrict` says so for parameters of functions only: GCC
// ignores it on local variables, and gives up where more than ten tests of overlap would be needed.
#if defined(__clang__)
#define LIGHTCRCF_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define LIGHTCRCF_INDEPENDENT _Pragma("GCC ivdep")
#endif
