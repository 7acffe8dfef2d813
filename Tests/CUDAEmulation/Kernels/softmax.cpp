#define KERNEL_FILE softmax
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/softmax.cu"
}

KERNELS(KERNEL(softmaxRows), KERNEL(softmaxRowsBackward));
