// Loops over threads: concurrent, nested, after a fork, and at the end of the process.
#include "base/parallel.hpp"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "check.hpp"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace lightcrcf {
namespace {

// Return whether a loop of `count` bodies calls each once.
bool calls_each_once(int64_t count) {
  std::vector<int> calls(static_cast<size_t>(count), 0);  // plain: bodies must not share an index
  parallel_for(count, [&](int64_t i) { ++calls[static_cast<size_t>(i)]; });
  for (const int n : calls) {
    if (n != 1) return false;
  }
  return true;
}

void test_each_index_is_visited_once() {
  for (const int threads : {1, 2, 3, 8, 0}) {
    set_thread_count(threads);
    for (const int64_t count : {0, 1, 2, 3, 7, 1000}) CHECK(calls_each_once(count));
  }
}

void test_thread_counts_belong_to_threads() {
  set_thread_count(0);
  const int all = thread_count();
  CHECK(all >= 1 && usable_cores() >= 1);
  set_thread_count(3);
  CHECK(thread_count() == 3);
  std::thread([&] { CHECK(thread_count() == all); }).join();
  set_thread_count(-5);
  CHECK(thread_count() == all);
  set_thread_count(INT32_MAX);
  CHECK(thread_count() <= 256);
  set_thread_count(0);
}

// Bodies run at once: each of two waits for the other.
void test_bodies_run_at_once() {
  set_thread_count(2);
  std::atomic<int> arrived{0};
  parallel_for(2, [&](int64_t) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
}

void test_concurrent_loops() {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 5; ++caller) {
    callers.emplace_back([caller] {
      for (int n = 0; n < 300; ++n) {
        set_thread_count(1 + (caller + n) % 5);
        CHECK(calls_each_once(1 + n % 9));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

void test_nested_loops() {
  set_thread_count(4);
  std::vector<int64_t> sums(20, 0);
  parallel_for(20, [&](int64_t i) {
    int64_t* sum = &sums[static_cast<size_t>(i)];
    parallel_for(50, [=](int64_t j) { *sum += j; });  // on one thread, so without a lock
  });
  for (const int64_t sum : sums) CHECK(sum == 50 * 49 / 2);
}

#if !defined(_WIN32)
// Return whether loops run in a child of this process; a child that hangs is ended by its alarm.
bool runs_in_child() {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    test_bodies_run_at_once();
    for (int n = 0; n < 20; ++n) {
      if (!calls_each_once(40)) _exit(1);
    }
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Fork while this thread has no loop, and while others are within loops.
void test_fork() {
  CHECK(runs_in_child());
  std::atomic<bool> stop{false};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 2; ++caller) {
    callers.emplace_back([&] {
      set_thread_count(3);
      while (!stop) CHECK(calls_each_once(20));
    });
  }
  for (int n = 0; n < 10; ++n) CHECK(runs_in_child());
  stop = true;
  for (std::thread& caller : callers) caller.join();
}
#endif

// The process ends while another thread is within a loop.
void leave_a_loop_running() {
  static std::atomic<int64_t> started{0};
  std::thread([] {
    set_thread_count(3);
    for (;;) parallel_for(100, [](int64_t) { ++started; });
  }).detach();
  while (started < 1000) std::this_thread::yield();
}

}  // namespace
}  // namespace lightcrcf

int main() {
  using namespace lightcrcf;
  test_each_index_is_visited_once();
  test_thread_counts_belong_to_threads();
  test_bodies_run_at_once();
  test_concurrent_loops();
  test_nested_loops();
#if !defined(_WIN32)
  if (!THREAD_SANITIZER) test_fork();
#endif
  leave_a_loop_running();
}
