#define KERNEL_FILE activate
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/activate.cu"
}

KERNELS(KERNEL(activate), KERNEL(activateBackward));
