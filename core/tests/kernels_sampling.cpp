#include "kernels.hpp"
#include "sampling/warp.hpp"

KERNEL(warp, a.in(2, d, h, w), a.in(3, d, h, w), a.out(2, d, h, w))
KERNEL(compose, a.in(3, d, h, w), a.in(3, d, h, w), a.out(3, d, h, w))
