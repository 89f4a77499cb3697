// The loops of `base/parallel.hpp` for tests of kernels, in place of the pool: bodies are dealt to new threads in turn, with
// nothing that orders one after another, so that the thread sanitizer sees each place that two bodies share.
#include <thread>
#include <vector>

#include "base/parallel.hpp"

namespace lightcrcf {
namespace {

thread_local int threads = 1;  // also in the bodies, where loops run on their thread

}  // namespace

int thread_count() { return threads; }

void set_thread_count(int count) { threads = count; }

void run_parallel(int64_t count, void (*body)(void*, int64_t), void* context) {
  const auto deal = [=](int64_t first, int64_t step) {
    for (int64_t i = first; i < count; i += step) body(context, i);
  };
  if (threads == 1) return deal(0, 1);
  std::vector<std::thread> workers;
  for (int n = 0; n < threads; ++n) workers.emplace_back(deal, n, threads);
  for (std::thread& worker : workers) worker.join();
}

}  // namespace lightcrcf
