#include "kernels.hpp"

#include <cmath>

#include "base/cpu.hpp"
#include "base/parallel.hpp"
#include "check.hpp"

namespace lightcrcf::tests {
namespace {

struct Call {
  const char* name;
  std::function<void(const Grid&, Arrays&)> run;
};

std::vector<Call>& calls() {
  static std::vector<Call> all;
  return all;
}

// Odd sizes, axes of one voxel, and rows longer than the vectors and blocks of kernels.
std::vector<Grid> grids() { return {{1, 1, 1}, {1, 3, 1}, {2, 1, 5}, {1, 4, 7}, {5, 7, 11}, {3, 2, 37}, {4, 6, 67}}; }

std::vector<std::string> results(const Call& call, const Grid& grid, int threads) {
  Arrays arrays;
  set_thread_count(threads);
  call.run(grid, arrays);
  return arrays.results();
}

}  // namespace

int register_kernel(const char* name, std::function<void(const Grid&, Arrays&)> call) {
  calls().push_back({name, std::move(call)});
  return 0;
}

double Arrays::odd(double value) {
  switch (random_() % 64) {
    case 0: return std::nan("");
    case 1: return INFINITY;
    case 2: return -1e30;
    case 3: return 0.0;
    default: return value;
  }
}

}  // namespace lightcrcf::tests

int main() {
  using namespace lightcrcf;
  const Isa best = detected_isa();
  for (const tests::Call& call : tests::calls()) {
    for (int level = 0; level <= static_cast<int>(best); ++level) {
      limit_isa(static_cast<Isa>(level));
      for (const tests::Grid& grid : tests::grids()) {
        const bool same = tests::results(call, grid, 1) == tests::results(call, grid, 3);
        if (!same) std::fprintf(stderr, "%s, %d: threads change a result\n", call.name, level);
        CHECK(same);
      }
    }
  }
}
