// ∂L/∂b_dec = Σ_b S_b,1 − Σ_j (∂L/∂b_enc,j) W_enc,j, the second term where the SAE subtracts b_dec from its input.
//
// Each sum is cut into parts of a fixed number of rows, in single precision within a part, in Double over parts.

#define ROWS 64
#define LATENTS 128

// [parts, D] sums of ROWS rows each.
extern "C" __global__ void sumRows(const float4 *x, int rows, int d4, float4 *parts) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= d4) return;
    float4 sum = zero4();
    int end = min((int)(blockIdx.x + 1) * ROWS, rows);
#pragma unroll 4
    for (int r = blockIdx.x * ROWS; r < end; r++) addScaled(sum, 1, x[(size_t)r * d4 + c]);
    parts[(size_t)blockIdx.x * d4 + c] = sum;
}

// [parts, D] sums of factors[j]·W_j over LATENTS latents each; those without a factor are not read.
extern "C" __global__ void sumLatents(
    const float4 *encoder, const float *factors, int latents, int d4, float4 *parts) {
    __shared__ float own[LATENTS];
    int first = blockIdx.x * LATENTS, count = min(LATENTS, latents - first), c = blockIdx.y * blockDim.x + threadIdx.x;
    for (int i = threadIdx.x; i < count; i += blockDim.x) own[i] = factors[first + i];
    __syncthreads();
    if (c >= d4) return;
    float4 sum = zero4();
#pragma unroll 4
    for (int i = 0; i < count; i++) {
        if (own[i] != 0) addScaled(sum, own[i], __ldg(encoder + (size_t)(first + i) * d4 + c));
    }
    parts[(size_t)blockIdx.x * d4 + c] = sum;
}

// out[c] = divisor⁻¹·(Σ over the first parts − Σ over the second), and the squares of a block's. A thread has one column.
extern "C" __global__ void addParts(
    const float *plus, int plusCount, const float *minus, int minusCount, float divisor, int width, float *out,
    double *squares) {
    __shared__ double scratch[32];
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    double sum = 0;
    if (c < width) {
        for (int i = 0; i < plusCount; i++) sum += (double)plus[(size_t)i * width + c];
        for (int i = 0; i < minusCount; i++) sum -= (double)minus[(size_t)i * width + c];
        out[c] = (float)(sum / (double)divisor);
    }
    double own = c < width ? (double)out[c] : 0, total = blockSum(own * own, scratch);
    if (threadIdx.x == 0) squares[blockIdx.x] = total;
}

// out[i] = Σ of row i of [gridDim, count], one block each.
extern "C" __global__ void __launch_bounds__(1024) sumSquares(const double *squares, int count, double *out) {
    __shared__ double scratch[32];
    const double *row = squares + (size_t)blockIdx.x * count;
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += row[i];
    sum = blockSum(sum, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
