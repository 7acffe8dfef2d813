// How many pre-activations of a tile lie in each of 4096 ranges of value, those of exempt latents and those not above
// their thresholds left out: where a floor has to lie that leaves a given number, when nothing else says so.
//
// A range is what shares sign, exponent and four bits of mantissa: 1/16 of its value wide.

#define RANGES 4096

extern "C" __global__ void __launch_bounds__(256) survey(
    const float *products, int stride, int rows, int first, int count, const float *bias, const float *thresholds,
    int exempt, u64 *ranges) {
    __shared__ u32 own[RANGES];
    for (int i = threadIdx.x; i < RANGES; i += blockDim.x) own[i] = 0;
    __syncthreads();
    for (int r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *row = products + (size_t)r * stride;
        for (int c = threadIdx.x; c < count; c += blockDim.x) {
            int j = first + c;
            float p = row[c] + bias[j];
            if (j >= exempt && p > (thresholds ? thresholds[j] : 0.0f)) atomicAdd(&own[__float_as_uint(p) >> 19], 1u);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < RANGES; i += blockDim.x) {
        if (own[i] > 0) atomicAdd(&ranges[i], (u64)own[i]);
    }
}
