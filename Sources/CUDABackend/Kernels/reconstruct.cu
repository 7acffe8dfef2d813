// Prefix residuals of each token and their weighted suffix sums. With r_i = x − x̂_i:
//   sums[i] = S_i = Σ_{i' ≥ i} factors[i']·r_i',   factors[i] = −2 w_i / (n B),   [n, B, D]
//   squares[i, row·slabs + slab] = Σ r_i² over the columns of a slab,             [n, B·slabs]
// and, if it is asked for, r_n [B, D] (method: arXiv:2503.17547; see PrefixGradient.swift).
//
// A block has a row and a slab of its columns, a thread four of them; entries go by in their order, which is that of
// latents, so that prefixes end one after the other.

#define STAGE 128
#define PREFIXES 32

extern "C" __global__ void __launch_bounds__(256) reconstruct(
    const float4 *x, const float4 *bias, const float4 *decoder, int d4, const int *rowOffsets, const int *columns,
    const float *values, const int *prefixes, const float *factors, int n, float4 *sums, double *squares,
    float4 *residual) {
    __shared__ int entryColumns[STAGE];
    __shared__ float entryValues[STAGE];
    __shared__ float warpSquares[PREFIXES][8];
    int row = blockIdx.x, rows = gridDim.x, c = blockIdx.y * blockDim.x + threadIdx.x;
    bool isInside = c < d4;
    size_t at = (size_t)row * d4 + c, plane = (size_t)rows * d4;
    float4 r = zero4();
    if (isInside) {
        r = x[at];
        addScaled(r, -1, bias[c]);
    }
    int i = 0;
    auto endPrefix = [&]() {
        float square = warpSum(isInside ? dot4(r, r) : 0.0f);
        if (lane() == 0) warpSquares[i][warp()] = square;
        if (isInside) sums[i * plane + at] = r;
        i++;
    };
    const float4 *own = decoder + (isInside ? c : 0);
    int end = rowOffsets[row + 1];
    for (int first = rowOffsets[row]; first < end; first += STAGE) {
        int staged = min(STAGE, end - first), k = 0;
        __syncthreads();
        for (int e = threadIdx.x; e < staged; e += blockDim.x) {
            entryColumns[e] = columns[first + e];
            entryValues[e] = values[first + e];
        }
        __syncthreads();
        while (k < staged) {
            while (entryColumns[k] >= prefixes[i]) endPrefix();
            int limit = prefixes[i];
            // Several rows under way at a time: each is somewhere else in memory.
            for (; k + 8 <= staged && entryColumns[k + 7] < limit; k += 8) {
                float4 w[8];
#pragma unroll
                for (int u = 0; u < 8; u++) w[u] = __ldg(own + (size_t)entryColumns[k + u] * d4);
#pragma unroll
                for (int u = 0; u < 8; u++) addScaled(r, -entryValues[k + u], w[u]);
            }
            for (; k < staged && entryColumns[k] < limit; k++) {
                addScaled(r, -entryValues[k], __ldg(own + (size_t)entryColumns[k] * d4));
            }
        }
    }
    while (i < n) endPrefix();
    __syncthreads();
    if (threadIdx.x < n) {
        double square = 0;
        for (int w = 0; w < warps(); w++) square += (double)warpSquares[threadIdx.x][w];
        squares[((size_t)threadIdx.x * rows + row) * gridDim.y + blockIdx.y] = square;
    }
    if (!isInside) return;
    if (residual) residual[at] = r;
    float4 sum = scaled(r, factors[n - 1]);
    sums[(n - 1) * plane + at] = sum;
    for (i = n - 2; i >= 0; i--) {
        addScaled(sum, factors[i], sums[i * plane + at]);
        sums[i * plane + at] = sum;
    }
}
