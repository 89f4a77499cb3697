// Calls of kernels on small odd grids, for the sanitizers.
//
// KERNEL(name, arguments...) calls a kernel on each grid of `grids()`, with each instruction set, on one thread and on
// several, and checks that the number of threads changes no bit of the results. Within the arguments, `d`, `h` and `w`
// are the sizes of the grid, and `a` makes arrays.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "base/view.hpp"

namespace lightcrcf::tests {

struct Grid {
  int64_t d, h, w;
};

// Arrays of one call. Each has an allocation of its own that ends with it, so that sanitizers see accesses beyond.
class Arrays {
 public:
  // Return values about 0.5; some are NaN, infinite, huge or zero.
  template <typename T = float, typename... Size>
  auto in(Size... sizes) {
    const auto view = make<T>(false, sizes...);
    std::normal_distribution<double> normal(0.5, 1.0);
    for (int64_t n = 0; n < view.size(); ++n) view.data[n] = static_cast<T>(odd(normal(random_)));
    return constant(view);
  }

  // Return integers in [low, high).
  template <typename T, typename... Size>
  auto integers(int64_t low, int64_t high, Size... sizes) {
    const auto view = make<T>(false, sizes...);
    std::uniform_int_distribution<int64_t> uniform(low, high - 1);
    for (int64_t n = 0; n < view.size(); ++n) view.data[n] = static_cast<T>(uniform(random_));
    return constant(view);
  }

  // Return 0, 1, 2, ...: the row of each voxel.
  template <typename... Size>
  auto rows(Size... sizes) {
    const auto view = make<int32_t>(false, sizes...);
    for (int64_t n = 0; n < view.size(); ++n) view.data[n] = static_cast<int32_t>(n);
    return constant(view);
  }

  // Return an array for results.
  template <typename T = float, typename... Size>
  auto out(Size... sizes) {
    const auto view = make<T>(true, sizes...);
    for (int64_t n = 0; n < view.size(); ++n) view.data[n] = static_cast<T>(0);
    return view;
  }

  // Return an array that the kernel reads and writes.
  template <typename T = float, typename... Size>
  auto update(Size... sizes) {
    const auto values = in<T>(sizes...);
    const auto view = make<T>(true, sizes...);
    std::memcpy(view.data, values.data, static_cast<size_t>(view.size()) * sizeof(T));
    return view;
  }

  // Return the bytes of the results.
  std::vector<std::string> results() const {
    std::vector<std::string> bytes;
    for (const Block& block : blocks_) {
      if (block.is_result) bytes.emplace_back(block.bytes.get(), block.size);
    }
    return bytes;
  }

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    size_t size;
    bool is_result;
  };

  template <typename T, typename... Size>
  View<T, sizeof...(Size)> make(bool is_result, Size... sizes) {
    View<T, sizeof...(Size)> view{nullptr, {static_cast<int64_t>(sizes)...}};
    const size_t bytes = static_cast<size_t>(view.size()) * sizeof(T);
    blocks_.push_back({std::make_unique<char[]>(bytes), bytes, is_result});
    view.data = reinterpret_cast<T*>(blocks_.back().bytes.get());
    return view;
  }

  template <typename T, int Rank>
  static View<const T, Rank> constant(const View<T, Rank>& view) {
    return view;
  }

  double odd(double value);

  std::mt19937_64 random_{7};
  std::vector<Block> blocks_;
};

// Register a call of a kernel. Return 0.
int register_kernel(const char* name, std::function<void(const Grid&, Arrays&)> call);

}  // namespace lightcrcf::tests

#define KERNEL_JOIN(a, b) a##b
#define KERNEL_NAME(a, b) KERNEL_JOIN(a, b)
#define KERNEL_IF(condition, name, ...)                                                                             \
  [[maybe_unused]] static const int KERNEL_NAME(registered_, __LINE__) = lightcrcf::tests::register_kernel(          \
      #name, []([[maybe_unused]] const lightcrcf::tests::Grid& grid, [[maybe_unused]] lightcrcf::tests::Arrays& a) { \
        [[maybe_unused]] const int64_t d = grid.d, h = grid.h, w = grid.w;                                          \
        if (condition) lightcrcf::name(__VA_ARGS__);                                                                \
      });
#define KERNEL(name, ...) KERNEL_IF(true, name, __VA_ARGS__)
// The same for a kernel of processors with AVX512-BF16.
#define BFLOAT16_KERNEL(name, ...) KERNEL_IF(lightcrcf::name.available(), name, __VA_ARGS__)
