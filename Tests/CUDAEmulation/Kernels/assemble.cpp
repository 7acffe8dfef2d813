#define KERNEL_FILE assemble
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/assemble.cu"
}

KERNELS(KERNEL(countRows), KERNEL(offsetRows), KERNEL(writeRows), KERNEL(countMarked), KERNEL(sumCounts), KERNEL(offsetCounts), KERNEL(writeMarked));
