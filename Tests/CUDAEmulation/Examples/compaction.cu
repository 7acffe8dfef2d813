// The indices of positive values, in order, by one block: ballots within a warp, sums over the warps before.

extern "C" __global__ void example_compact(const float *values, int *indices, int *count, int size) {
    __shared__ int found[32];
    __shared__ int start;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    if (threadIdx.x == 0) start = 0;
    __syncthreads();
    for (int base = 0; base < size; base += blockDim.x) {
        int index = base + threadIdx.x;
        bool keep = index < size && values[index] > 0;
        unsigned kept = __ballot_sync(0xffffffffu, keep);
        if (lane == 0) found[warp] = __popc(kept);
        __syncthreads();
        int place = start + __popc(kept & ((1u << lane) - 1));
        for (int before = 0; before < warp; ++before) place += found[before];
        if (keep) indices[place] = index;
        __syncthreads();
        if (threadIdx.x == 0)
            for (int other = 0; other < warps; ++other) start += found[other];
        __syncthreads();
    }
    if (threadIdx.x == 0) *count = start;
}

// Half of the threads never come to the barrier.
extern "C" __global__ void example_diverging(int *out) {
    if (threadIdx.x < blockDim.x / 2) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}

// Lanes that name each other and do not all come.
extern "C" __global__ void example_missing_lanes(int *out) {
    if (threadIdx.x % 2 == 0) out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 2);
}

// Reads `distance` values past the last.
extern "C" __global__ void example_overrun(const int *values, int *out, int count, int distance) {
    if (threadIdx.x == 0) out[0] = values[count - 1 + distance];
}

// Past the end of an array in shared memory.
extern "C" __global__ void example_shared_overrun(int *out, int index) {
    __shared__ int row[8];
    row[threadIdx.x % 8] = threadIdx.x;
    __syncthreads();
    if (threadIdx.x == 0) out[0] = row[index];
}
