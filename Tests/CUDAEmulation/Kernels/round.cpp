#define KERNEL_FILE round
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/round.cu"
}

KERNELS(KERNEL(roundRows));
