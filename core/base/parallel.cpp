#include "base/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32) && !defined(__EMSCRIPTEN__)
#include <pthread.h>
#endif

namespace lightcrcf {
namespace {

constexpr int kMostThreads = 256;

thread_local int threads_wanted = 0;  // 0: the default
thread_local bool within_loop = false;

// Return the number that OMP_NUM_THREADS gives, as other libraries do, or the largest one.
int environment_threads() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  const int count = text == nullptr ? 0 : std::atoi(text);
  return count > 0 ? count : kMostThreads;
}

const int default_threads = std::min({usable_cores(), environment_threads(), kMostThreads});

// One loop: its bodies are taken one by one, by the caller and by workers.
struct Loop {
  int64_t count;
  void (*body)(void*, int64_t);
  void* context;
  std::atomic<int64_t> next{0};
  int workers = 0;  // that are within the loop; guarded by the mutex of the pool

  // Results are published by the mutex of the pool; bodies are not ordered.
  int64_t take() { return next.fetch_add(1, std::memory_order_relaxed); }

  void run() {
    for (int64_t i = take(); i < count; i = take()) body(context, i);
  }
};

// Workers wait for loops. A loop stands in the queue once per worker that it may have. Loops of several threads share the
// workers: there are never more than the largest loop asked for, and a loop whose workers are busy runs on its caller.
class Pool {
 public:
  void run(Loop& loop, int helpers) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      start_workers(helpers);
      helpers = std::min(helpers, started_);
      for (int n = 0; n < helpers; ++n) queue_.push_back(&loop);
    }
    for (int n = 0; n < helpers; ++n) available_.notify_one();
    loop.run();
    std::unique_lock<std::mutex> lock(mutex_);
    queue_.erase(std::remove(queue_.begin(), queue_.end(), &loop), queue_.end());
    finished_.wait(lock, [&] { return loop.workers == 0; });
  }

 private:
  // Start workers up to a number, or as many as the system allows.
  void start_workers(int count) {
    try {
      for (; started_ < count; ++started_) std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
    }
  }

  [[noreturn]] void work() {
    within_loop = true;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      available_.wait(lock, [this] { return !queue_.empty(); });
      Loop& loop = *queue_.front();
      queue_.pop_front();
      ++loop.workers;
      lock.unlock();
      loop.run();
      lock.lock();
      if (--loop.workers == 0) finished_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable available_, finished_;
  std::deque<Loop*> queue_;
  int started_ = 0;
};

// Threads do not survive a fork: a child starts a pool of its own, since a mutex of the old one may be locked. For the same
// reason nothing here is initialised under a lock. Pools are never destroyed, so that workers need not be stopped when
// the process ends.
std::atomic<Pool*> the_pool{nullptr};

#if !defined(_WIN32) && !defined(__EMSCRIPTEN__)
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
#endif

Pool& pool() {
  Pool* found = the_pool.load(std::memory_order_acquire);
  if (found != nullptr) return *found;
  Pool* created = new Pool;
  if (the_pool.compare_exchange_strong(found, created, std::memory_order_acq_rel)) return *created;
  delete created;
  return *found;
}

}  // namespace

int thread_count() {
#if defined(__EMSCRIPTEN__)
  return 1;
#else
  return threads_wanted > 0 ? threads_wanted : default_threads;
#endif
}

void set_thread_count(int count) { threads_wanted = std::min(std::max(0, count), kMostThreads); }

void run_parallel(int64_t count, void (*body)(void*, int64_t), void* context) {
  const int helpers = static_cast<int>(std::min<int64_t>(thread_count(), count)) - 1;
  if (helpers <= 0 || within_loop) {
    for (int64_t i = 0; i < count; ++i) body(context, i);
    return;
  }
  Loop loop{count, body, context};
  within_loop = true;
  pool().run(loop, helpers);
  within_loop = false;
}

}  // namespace lightcrcf
