#define KERNEL_FILE example_reduction
#include "../Device/emulation.h"

namespace {
#include "../Examples/reduction.cu"
}

KERNELS(KERNEL(example_row_sums), KERNEL(example_row_sums_racing), KERNEL(example_scale));
