#define KERNEL_FILE vocabulary
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/vocabulary.cu"
}

KERNELS(KERNEL(tokenLosses), KERNEL(tokenDivergences), KERNEL(capLogits));
