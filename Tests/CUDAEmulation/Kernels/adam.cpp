#define KERNEL_FILE adam
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/adam.cu"
}

KERNELS(KERNEL(adamBiases), KERNEL(adamRows1), KERNEL(adamRows2), KERNEL(adamRows3), KERNEL(adamRows4), KERNEL(adamRows6), KERNEL(adamRows8));
