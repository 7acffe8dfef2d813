// The sum of each row of x [rows, columns]: one block a row, whatever the number of threads.

__device__ float warp_sum(float value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
    return value;
}

extern "C" __global__ void __launch_bounds__(256) example_row_sums(
    const float *__restrict__ x, float *__restrict__ sums, int columns) {
    __shared__ float partial[32];
    float value = 0;
    for (int column = threadIdx.x; column < columns; column += blockDim.x) value += x[(size_t)blockIdx.x * columns + column];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x < 32) {
        value = warp_sum(threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.0f);
        if (threadIdx.x == 0) sums[blockIdx.x] = value;
    }
}

// The same without the barrier: what partial holds is then a matter of luck.
extern "C" __global__ void example_row_sums_racing(const float *x, float *sums, int columns) {
    __shared__ float partial[32];
    if (threadIdx.x < 32) partial[threadIdx.x] = 0;
    __syncthreads();
    float value = 0;
    for (int column = threadIdx.x; column < columns; column += blockDim.x) value += x[(size_t)blockIdx.x * columns + column];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    if (threadIdx.x == 0) {
        float sum = 0;
        for (int warp = 0; warp < blockDim.x / 32; ++warp) sum += partial[warp];
        sums[blockIdx.x] = sum;
    }
}

// out[i] = a·x[i] + b.x with four values a thread where they fill a vector; dynamic shared memory in between.
extern "C" __global__ void example_scale(const float4 *x, float4 *out, int count, float a, float2 b) {
    DYNAMIC_SHARED(float4, row);
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    row[threadIdx.x] = index < count ? x[index] : make_float4(0, 0, 0, 0);
    __syncthreads();
    if (index >= count) return;
    float4 value = row[threadIdx.x];
    out[index] = make_float4(a * value.x + b.x, a * value.y + b.x, a * value.z + b.x, a * value.w + b.x);
}
