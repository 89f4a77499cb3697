#include "base/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32) && !defined(__EMSCRIPTEN__)
#include <pthread.h>
#endif

namespace lightcrcf {
namespace {

thread_local int threads_wanted = 0;  // 0: all usable cores
thread_local bool within_loop = false;

// One loop: its bodies are taken one by one, by the caller and by workers.
struct Loop {
  int64_t count;
  void (*body)(void*, int64_t);
  void* context;
  std::atomic<int64_t> next{0};
  int workers = 0;  // that are within the loop; guarded by the mutex of the pool

  void run() {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(context, i);
  }
};

// Workers wait for loops. A loop stands in the queue once per worker that it may have.
class Pool {
 public:
  void run(Loop& loop, int helpers) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (int n = 0; n < helpers; ++n) queue_.push_back(&loop);
      while (started_ < helpers) {
        std::thread([this] { work(); }).detach();
        ++started_;
      }
    }
    for (int n = 0; n < helpers; ++n) available_.notify_one();
    loop.run();
    std::unique_lock<std::mutex> lock(mutex_);
    queue_.erase(std::remove(queue_.begin(), queue_.end(), &loop), queue_.end());
    finished_.wait(lock, [&] { return loop.workers == 0; });
  }

 private:
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

// Threads do not survive a fork: a child starts a pool of its own. Pools are never destroyed, so that workers need not
// be stopped when the process ends.
std::atomic<Pool*> the_pool{nullptr};

Pool& pool() {
  Pool* found = the_pool.load(std::memory_order_acquire);
  if (found != nullptr) return *found;
  static std::mutex creation;
  std::lock_guard<std::mutex> lock(creation);
  found = the_pool.load(std::memory_order_acquire);
  if (found == nullptr) {
    found = new Pool;
#if !defined(_WIN32) && !defined(__EMSCRIPTEN__)
    static const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
    static_cast<void>(registered);
#endif
    the_pool.store(found, std::memory_order_release);
  }
  return *found;
}

}  // namespace

int usable_cores() {
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int thread_count() {
#if defined(__EMSCRIPTEN__)
  return 1;
#else
  static const int all = usable_cores();
  return threads_wanted > 0 ? threads_wanted : all;
#endif
}

void set_thread_count(int count) { threads_wanted = std::max(0, count); }

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
