#define KERNEL_FILE heads
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/heads.cu"
}

KERNELS(KERNEL(splitHeads), KERNEL(splitHeadsBackward), KERNEL(joinHeads), KERNEL(partHeads), KERNEL(fillPast));
