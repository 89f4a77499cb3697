// Loops over a pool of threads that sleep when there is no work.
#pragma once

#include <cstdint>

namespace lightcrcf {

// Return the number of threads of loops that the calling thread starts.
int thread_count();

// Set that number for the calling thread, at most 256; 0 for all usable cores, or OMP_NUM_THREADS of them.
void set_thread_count(int count);

// Return the number of cores that this process may use: by its affinity, and by the limit of its container.
int usable_cores();

// Call body(context, i) for all i in [0, count), on `thread_count` threads of which one is the caller.
// Bodies must not throw. Nested loops run on the calling thread.
void run_parallel(int64_t count, void (*body)(void*, int64_t), void* context);

// Call body(i) for all i in [0, count), in parallel. The order is not defined, so bodies write to
// places of their own, and results do not depend on the number of threads.
template <typename Body>
void parallel_for(int64_t count, Body body) {
  run_parallel(count, [](void* context, int64_t i) { (*static_cast<Body*>(context))(i); }, &body);
}

}  // namespace lightcrcf
