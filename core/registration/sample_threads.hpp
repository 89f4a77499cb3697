// Threads of sums over samples.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/parallel.hpp"

namespace lightcrcf {

// Limits threads by the number of samples while it lives: waking one takes as long as some ten thousand samples.
class SampleThreads {
 public:
  explicit SampleThreads(int64_t samples) : before_(thread_count()) {
    constexpr int64_t kPerThread = 100'000;
    set_thread_count(static_cast<int>(std::min<int64_t>(before_, std::max<int64_t>(1, samples / kPerThread))));
  }
  SampleThreads(const SampleThreads&) = delete;
  SampleThreads& operator=(const SampleThreads&) = delete;
  ~SampleThreads() { set_thread_count(before_); }

 private:
  int before_;
};

}  // namespace lightcrcf
