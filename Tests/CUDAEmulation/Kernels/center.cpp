#define KERNEL_FILE center
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/center.cu"
}

KERNELS(KERNEL(center), KERNEL(addRows));
