#define KERNEL_FILE collect
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/collect.cu"
}

KERNELS(KERNEL(collect));
