// How often each of 64 bins occurs among `count` values: counted in shared memory, then added up in integers, which
// is the same in any order.

extern "C" __global__ void example_histogram(const unsigned *values, unsigned *bins, int count) {
    __shared__ unsigned own[64];
    for (int bin = threadIdx.x; bin < 64; bin += blockDim.x) own[bin] = 0;
    __syncthreads();
    for (int index = blockIdx.x * blockDim.x + threadIdx.x; index < count; index += gridDim.x * blockDim.x)
        atomicAdd(&own[values[index] % 64], 1u);
    __syncthreads();
    for (int bin = threadIdx.x; bin < 64; bin += blockDim.x)
        if (own[bin]) atomicAdd(&bins[bin], own[bin]);
}

// Which thread came last decides what is left: different bits in a different order.
extern "C" __global__ void example_last_block(unsigned *place) {
    if (threadIdx.x == 0) *place = blockIdx.x;
}

// Reads shared memory that nobody wrote.
extern "C" __global__ void example_unwritten(unsigned *out) {
    __shared__ unsigned place;
    if (threadIdx.x == 0) out[blockIdx.x] = place;
    __syncthreads();
    place = 7;
}
