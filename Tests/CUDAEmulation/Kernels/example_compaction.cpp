#define KERNEL_FILE example_compaction
#include "../Device/emulation.h"

namespace {
#include "../Examples/compaction.cu"
}

KERNELS(KERNEL(example_compact), KERNEL(example_diverging), KERNEL(example_missing_lanes), KERNEL(example_overrun), KERNEL(example_shared_overrun));
