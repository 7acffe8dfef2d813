// CUDA C++ for an ordinary compiler: what a kernel's text may use. A name that is missing here is one that no kernel of ours
// needs yet, or one that is left out on purpose: atomics on floating-point numbers (their order would decide the bits),
// __activemask (its value is an accident), printf.
//
// A file of kernels is compiled by a file of `Kernels/`, which first defines KERNEL_FILE, the name of the part of memory
// in which its shared variables lie.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <math.h>

#include "Block.h"
#include "Kernel.h"

#define DMSAE_EMULATION 1

#pragma clang diagnostic ignored "-Wunused-function"
#pragma clang diagnostic ignored "-Wunused-const-variable"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __constant__ static const
#define __grid_constant__

#define EMULATION_TEXT_OF(name) #name
#define EMULATION_TEXT(name) EMULATION_TEXT_OF(name)
// One block runs at a time, so its shared variables are variables like others; in a part of memory of their own, so that they
// can be spoilt between blocks, and `used`, since the compiler must expect others to write there.
#define __shared__ static __attribute__((used, section("emulated_shared_" EMULATION_TEXT(KERNEL_FILE))))
#define DYNAMIC_SHARED(type, name) type *const name = static_cast<type *>(::emulation::dynamicShared)

#define threadIdx (::emulation::running->index)
#define blockIdx (::emulation::blockIndex)
#define blockDim (::emulation::blockSize)
#define gridDim (::emulation::gridSize)
#define warpSize 32

#define EMULATION_WHERE ::emulation::Where where = {__builtin_FILE(), __builtin_LINE()}

inline void __syncthreads(EMULATION_WHERE) { ::emulation::barrier(0, "__syncthreads", where); }
inline int __syncthreads_count(int predicate, EMULATION_WHERE) {
    return int(::emulation::barrier(predicate != 0, "__syncthreads_count", where));
}
inline int __syncthreads_or(int predicate, EMULATION_WHERE) {
    return ::emulation::barrier(predicate != 0, "__syncthreads_or", where) != 0;
}
inline int __syncthreads_and(int predicate, EMULATION_WHERE) {
    return ::emulation::barrier(predicate == 0, "__syncthreads_and", where) == 0;
}
// Nothing is reordered here; a missing fence is not noticed.
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap() { ::emulation::fail("traps"); }

#include "vectors.h"
#include "warp.h"
#include "atomics.h"
#include "arithmetic.h"
#include "memory.h"
