#define KERNEL_FILE embed
#include "../Device/emulation.h"

namespace {
#include "../../../Sources/CUDABackend/Kernels/prelude.cu"
#include "../../../Sources/CUDABackend/Kernels/embed.cu"
}

KERNELS(KERNEL(embed), KERNEL(embedRounded));
