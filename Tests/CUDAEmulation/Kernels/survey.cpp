#define KERNEL_FILE survey
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/survey.cu"
}

KERNELS(KERNEL(survey));
