#define KERNEL_FILE slices
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/slices.cu"
}

KERNELS(KERNEL(addInOrder));
