// The rank-th largest of the candidates that are not exempt, and how many that equal it are among the rank largest: a radix
// selection over the bits of positive numbers, which order as they do.
//
// Three launches, `shift` 20, 10 and 0, of 2048 or 1024 digits each. The last block to finish has the counts of all; it finds
// the digit and clears them for the next.

#define DIGITS 2048

extern "C" __global__ void __launch_bounds__(256) rank(
    const int *columns, const float *values, u32 capacity, int exempt, u64 limit, int isTotal, int shift, u32 *counts,
    Status *status) {
    __shared__ u32 own[DIGITS];
    __shared__ u32 sums[8];
    __shared__ bool isLast;
    u64 found = status->found < capacity ? status->found : capacity;
    u32 known = status->threshold;
    for (int i = threadIdx.x; i < DIGITS; i += blockDim.x) own[i] = 0;
    __syncthreads();
    for (u64 e = (u64)blockIdx.x * blockDim.x + threadIdx.x; e < found; e += (u64)gridDim.x * blockDim.x) {
        if (columns[e] < exempt) continue;
        u32 bits = __float_as_uint(values[e]);
        // Digits above the shift have to be those found.
        if (shift == 20 || bits >> (shift + 10) == known >> (shift + 10)) {
            atomicAdd(&own[shift == 20 ? bits >> 20 : bits >> shift & 1023], 1u);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < DIGITS; i += blockDim.x) {
        if (own[i] > 0) atomicAdd(&counts[i], own[i]);
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) isLast = atomicAdd(&status->done, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!isLast) return;
    __threadfence();
    // Thread t has eight digits, the highest ones first.
    u32 mine[8], sum = 0;
    for (int i = 0; i < 8; i++) {
        int digit = DIGITS - 1 - (8 * (int)threadIdx.x + i);
        mine[i] = __ldcg(&counts[digit]);
        counts[digit] = 0;
        sum += mine[i];
    }
    u32 above = sum;
    for (int offset = 1; offset < 32; offset <<= 1) {
        u32 other = __shfl_up_sync(ALL, above, offset);
        if (lane() >= offset) above += other;
    }
    if (lane() == 31) sums[warp()] = above;
    __syncthreads();
    above -= sum;
    u32 all = 0;
    for (int w = 0; w < warps(); w++) {
        if (w < warp()) above += sums[w];
        all += sums[w];
    }
    u32 remaining = status->remaining;
    if (shift == 20) {
        u64 allowed = isTotal ? (limit > status->core ? limit - status->core : 0) : limit;
        remaining = allowed < all ? (u32)allowed : all;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        status->done = 0;
        if (shift == 20) status->kept = remaining;
        if (remaining == 0) {
            status->threshold = 0x7f800000u;
            status->ties = 0;
            status->remaining = 0;
        }
    }
    if (remaining == 0) return;
    for (int i = 0; i < 8; i++) {
        if (above < remaining && above + mine[i] >= remaining) {
            u32 digit = DIGITS - 1 - (8 * threadIdx.x + i);
            status->threshold = shift == 20 ? digit << 20 : known | digit << shift;
            status->remaining = remaining - above;
            status->ties = remaining - above;
        }
        above += mine[i];
    }
}
