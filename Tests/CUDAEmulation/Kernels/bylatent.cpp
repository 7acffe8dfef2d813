#define KERNEL_FILE bylatent
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/bylatent.cu"
}

KERNELS(KERNEL(scatterEntries), KERNEL(orderEntries));
