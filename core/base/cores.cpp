#include <algorithm>
#include <cstdio>
#include <thread>

#include "base/parallel.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace lightcrcf {
namespace {

#if defined(__linux__)
// Return a number from a file, or `missing`.
double read_number(const char* path, const char* format, double missing) {
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return missing;
  double value = missing;
  if (std::fscanf(file, format, &value) != 1) value = missing;
  std::fclose(file);
  return value;
}

// Return the number of cores whose time a container may use, rounded up, or `all`. More threads would be suspended
// together for most of each period.
int granted_cores(int all) {
  double quota = read_number("/sys/fs/cgroup/cpu.max", "%lf", -1.0);  // version 2: "max" or microseconds, and period
  double period = read_number("/sys/fs/cgroup/cpu.max", "%*s %lf", 100000.0);
  if (quota <= 0.0) {
    quota = read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "%lf", -1.0);  // version 1: -1 for no limit
    period = read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "%lf", 100000.0);
  }
  if (quota <= 0.0 || period <= 0.0 || quota >= all * period) return all;
  return std::max(1, static_cast<int>((quota + period - 1.0) / period));
}
#endif

}  // namespace

int usable_cores() {
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return granted_cores(std::max(1, CPU_COUNT(&cores)));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace lightcrcf
