#define KERNEL_FILE measure
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/measure.cu"
}

KERNELS(KERNEL(measureRows));
