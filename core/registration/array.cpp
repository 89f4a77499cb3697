#include "registration/array.hpp"

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lightcrcf {
namespace {

constexpr std::align_val_t kAlignment{64};

#if defined(__linux__)
// Ask for huge pages: touching memory for the first time costs as much as the kernels that fill it.
void want_huge_pages(void* memory, size_t bytes) {
  constexpr size_t least = size_t{4} << 20, page = 4096;
  if (bytes < least) return;
  const auto begin = (reinterpret_cast<uintptr_t>(memory) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(memory) + bytes;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}
#endif

}  // namespace

void* allocate(size_t bytes) {
  void* memory = ::operator new(std::max<size_t>(bytes, 1), kAlignment);
#if defined(__linux__)
  want_huge_pages(memory, bytes);
#endif
  return memory;
}

void release(void* memory) { ::operator delete(memory, kAlignment); }

}  // namespace lightcrcf
