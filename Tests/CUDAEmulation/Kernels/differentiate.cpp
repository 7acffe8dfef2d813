#define KERNEL_FILE differentiate
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/differentiate.cu"
}

KERNELS(KERNEL(gatherDeltas), KERNEL(scatterDeltas), KERNEL(clearDeltas), KERNEL(differentiate1), KERNEL(differentiate2), KERNEL(differentiate3), KERNEL(differentiate4), KERNEL(differentiate6), KERNEL(differentiate8));
