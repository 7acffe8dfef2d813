#define KERNEL_FILE edit
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/edit.cu"
}

KERNELS(KERNEL(editRows));
