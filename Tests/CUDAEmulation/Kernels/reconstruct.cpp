#define KERNEL_FILE reconstruct
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/reconstruct.cu"
}

KERNELS(KERNEL(reconstruct), KERNEL(reconstructGroups), KERNEL(leaveResiduals));
