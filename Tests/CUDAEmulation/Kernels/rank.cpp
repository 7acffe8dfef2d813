#define KERNEL_FILE rank
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/rank.cu"
}

KERNELS(KERNEL(rank));
