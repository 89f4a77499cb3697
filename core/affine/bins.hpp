// Bins of intensities, evenly spaced. For kernel files only: see base/dispatch.hpp.
#pragma once

#include <cstdint>

namespace lightcrcf::LIGHTCRCF_ISA {

// The bin below a value, and the fraction to the next one.
struct Bin {
  int32_t below;
  double part;
};

// Bins 0 to count - 1 (at least two), with centres from 0 to `top`; values beyond are clamped, and NaN to 0.
struct Bins {
  Bins(int64_t count, double top)
      : scale(static_cast<double>(count - 1) / top), last(static_cast<double>(count - 1)),
        second(static_cast<int32_t>(count - 2)) {}

  [[gnu::always_inline]] Bin find(float value) const {
    double at = static_cast<double>(value) * scale;
    at = at > 0.0 ? at : 0.0;
    at = at < last ? at : last;
    int32_t below = static_cast<int32_t>(at);
    below = below < second ? below : second;
    return {below, at - static_cast<double>(below)};
  }

  double scale, last;
  int32_t second;
};

}  // namespace lightcrcf::LIGHTCRCF_ISA
