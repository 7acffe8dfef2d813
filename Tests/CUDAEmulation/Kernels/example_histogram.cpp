#define KERNEL_FILE example_histogram
#include "../Device/emulation.h"

namespace {
#include "../Examples/histogram.cu"
}

KERNELS(KERNEL(example_histogram), KERNEL(example_last_block), KERNEL(example_unwritten));
