#define KERNEL_FILE norm
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/norm.cu"
}

KERNELS(KERNEL(normRows), KERNEL(normRowsBackward), KERNEL(normScales));
