#define KERNEL_FILE auxiliary
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/auxiliary.cu"
}

KERNELS(KERNEL(gatherRows), KERNEL(chooseLargest), KERNEL(listChosen), KERNEL(dropUnmarked), KERNEL(squareRows), KERNEL(finishAuxiliary), KERNEL(maskGradient), KERNEL(sumAuxiliary), KERNEL(scatterAuxiliary));
