#define KERNEL_FILE bias
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/bias.cu"
}

KERNELS(KERNEL(sumRows), KERNEL(sumLatents), KERNEL(addParts), KERNEL(sumSquares), KERNEL(sumParts), KERNEL(finishNumbers));
