// Prefix residuals of each token and their weighted suffix sums. With r_i = x − x̂_i:
//   sums[i] = S_i = Σ_{i' ≥ i} factors[i']·r_i',   factors[i] = −2 w_i / (n B),   [n, B, D]
//   squares[i, row·slabs + slab] = Σ r_i² over the columns of a slab,             [n, B·slabs]
// and, if it is asked for, r_n [B, D] (method: arXiv:2503.17547; see PrefixGradient.swift).
//
// A block has a row and a slab of its columns, a thread four of them; entries go by in their order, which is that of
// latents, so that prefixes end one after the other.

#define STAGE 128
#define PREFIXES 32

// r += sign·f·W_dec over the entries first..<end, and `endPrefix` between those of two prefixes, which counts i on.
template <typename EndPrefix> __device__ __forceinline__ void addEntries(
    float4 &r, float sign, const float4 *own, int d4, int first, int end, const int *columns, const float *values,
    const int *prefixes, int &i, int *entryColumns, float *entryValues, EndPrefix endPrefix) {
    for (; first < end; first += STAGE) {
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
                for (int u = 0; u < 8; u++) addScaled(r, sign * entryValues[k + u], w[u]);
            }
            for (; k < staged && entryColumns[k] < limit; k++) {
                addScaled(r, sign * entryValues[k], __ldg(own + (size_t)entryColumns[k] * d4));
            }
        }
    }
}

// Takes r_i, the residual of prefix i, in.
__device__ __forceinline__ void takeResidual(
    float4 r, int i, bool isInside, size_t at, size_t plane, float4 *sums, float (*warpSquares)[8]) {
    float square = warpSum(isInside ? dot4(r, r) : 0.0f);
    if (lane() == 0) warpSquares[i][warp()] = square;
    if (isInside) sums[i * plane + at] = r;
}

// The squares of all r_i, and S from r_i where they are; r is r_n.
__device__ __forceinline__ void finishRow(
    float4 r, int n, bool isInside, size_t at, size_t plane, const float *factors, float4 *sums, double *squares,
    float4 *residual, float (*warpSquares)[8]) {
    __syncthreads();
    if (threadIdx.x < n) {
        double square = 0;
        for (int w = 0; w < warps(); w++) square += (double)warpSquares[threadIdx.x][w];
        squares[((size_t)threadIdx.x * gridDim.x + blockIdx.x) * gridDim.y + blockIdx.y] = square;
    }
    if (!isInside) return;
    if (residual) residual[at] = r;
    float4 sum = scaled(r, factors[n - 1]);
    sums[(n - 1) * plane + at] = sum;
    for (int i = n - 2; i >= 0; i--) {
        addScaled(sum, factors[i], sums[i * plane + at]);
        sums[i * plane + at] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(256) reconstruct(
    const float4 *x, const float4 *bias, const float4 *decoder, int d4, const int *rowOffsets, const int *columns,
    const float *values, const int *prefixes, const float *factors, int n, float4 *sums, double *squares,
    float4 *residual) {
    __shared__ int entryColumns[STAGE];
    __shared__ float entryValues[STAGE];
    __shared__ float warpSquares[PREFIXES][8];
    int row = blockIdx.x, c = blockIdx.y * blockDim.x + threadIdx.x, i = 0;
    bool isInside = c < d4;
    size_t at = (size_t)row * d4 + c, plane = (size_t)gridDim.x * d4;
    float4 r = zero4();
    if (isInside) {
        r = x[at];
        addScaled(r, -1, bias[c]);
    }
    auto endPrefix = [&]() { takeResidual(r, i++, isInside, at, plane, sums, warpSquares); };
    addEntries(
        r, -1, decoder + (isInside ? c : 0), d4, rowOffsets[row], rowOffsets[row + 1], columns, values, prefixes, i,
        entryColumns, entryValues, endPrefix);
    while (i < n) endPrefix();
    finishRow(r, n, isInside, at, plane, factors, sums, squares, residual, warpSquares);
}

// Where latents are cut among ranks, what those of one add to the reconstructions: sums[i] = Σ f·W_dec over the entries of group i,
// [n, B, D]. When they are the sums over all ranks, `leaveResiduals` does what `reconstruct` does.
extern "C" __global__ void __launch_bounds__(256) reconstructGroups(
    const float4 *decoder, int d4, const int *rowOffsets, const int *columns, const float *values, const int *prefixes,
    int n, float4 *sums) {
    __shared__ int entryColumns[STAGE];
    __shared__ float entryValues[STAGE];
    int row = blockIdx.x, c = blockIdx.y * blockDim.x + threadIdx.x, i = 0;
    bool isInside = c < d4;
    size_t at = (size_t)row * d4 + c, plane = (size_t)gridDim.x * d4;
    float4 r = zero4();
    auto endPrefix = [&]() {
        if (isInside) sums[i * plane + at] = r;
        r = zero4();
        i++;
    };
    addEntries(
        r, 1, decoder + (isInside ? c : 0), d4, rowOffsets[row], rowOffsets[row + 1], columns, values, prefixes, i,
        entryColumns, entryValues, endPrefix);
    while (i < n) endPrefix();
}

extern "C" __global__ void __launch_bounds__(256) leaveResiduals(
    const float4 *x, const float4 *bias, int d4, const float *factors, int n, float4 *sums, double *squares,
    float4 *residual) {
    __shared__ float warpSquares[PREFIXES][8];
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    bool isInside = c < d4;
    size_t at = (size_t)blockIdx.x * d4 + c, plane = (size_t)gridDim.x * d4;
    float4 r = zero4();
    if (isInside) {
        r = x[at];
        addScaled(r, -1, bias[c]);
    }
    for (int i = 0; i < n; i++) {
        if (isInside) addScaled(r, -1, sums[i * plane + at]);
        takeResidual(r, i, isInside, at, plane, sums, warpSquares);
    }
    finishRow(r, n, isInside, at, plane, factors, sums, squares, residual, warpSquares);
}
