#pragma once

#include <cstddef>

namespace emulation {

/// Most that a block may ask for; what cards of compute capability 9.0 and 10.0 have.
constexpr size_t largestDynamicShared = 232448;

/// `bytes` of memory filled with ones (not a number, as float or as bf16) that ends, up to an alignment of 16, where the
/// next access faults. The memory of the block before is the same.
void *freshDynamicShared(size_t bytes);

}  // namespace emulation
