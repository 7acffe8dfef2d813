// ∂L/∂b_dec = Σ_b S_b,1 − Σ_j (∂L/∂b_enc,j) W_enc,j, the second term where the SAE subtracts b_dec from its input.
//
// Each sum is cut into parts of a fixed number of rows, in single precision within a part, in Double over parts.

#define ROWS 64
// Latents of a part at most: how many is for the host to say, so that there are parts enough for all multiprocessors.
#define LATENTS 128

// [parts, D] sums of ROWS rows each.
extern "C" __global__ void sumRows(const float4 *x, int rows, int d4, float4 *parts) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= d4) return;
    float4 sum = zero4();
    int end = min((int)(blockIdx.x + 1) * ROWS, rows);
#pragma unroll 8
    for (int r = blockIdx.x * ROWS; r < end; r++) addScaled(sum, 1, x[(size_t)r * d4 + c]);
    parts[(size_t)blockIdx.x * d4 + c] = sum;
}

// [parts, D] sums of factors[j]·W_j over `share` latents each; those without a factor are not read.
extern "C" __global__ void sumLatents(
    const float4 *encoder, const float *factors, int latents, int share, int d4, float4 *parts) {
    __shared__ float own[LATENTS];
    int first = blockIdx.x * share, count = min(share, latents - first), c = blockIdx.y * blockDim.x + threadIdx.x;
    for (int i = threadIdx.x; i < count; i += blockDim.x) own[i] = factors[first + i];
    __syncthreads();
    if (c >= d4) return;
    float4 sum = zero4();
#pragma unroll 8
    for (int i = 0; i < count; i++) {
        float4 row = own[i] != 0 ? __ldg(encoder + (size_t)(first + i) * d4 + c) : zero4();
        addScaled(sum, own[i], row);
    }
    parts[(size_t)blockIdx.x * d4 + c] = sum;
}

#define COLUMNS 32
#define TEAMS 8

// out[c] = divisor⁻¹·(Σ over the first parts − Σ over the second), and the squares of a block's 32 columns. Warp w adds every
// eighth part from w on.
extern "C" __global__ void __launch_bounds__(256) addParts(
    const float *plus, int plusCount, const float *minus, int minusCount, float divisor, int width, float *out,
    double *squares) {
    __shared__ double sums[TEAMS][COLUMNS];
    int c = blockIdx.x * COLUMNS + lane();
    double sum = 0;
    if (c < width) {
#pragma unroll 4
        for (int i = warp(); i < plusCount; i += TEAMS) sum += (double)plus[(size_t)i * width + c];
#pragma unroll 4
        for (int i = warp(); i < minusCount; i += TEAMS) sum -= (double)minus[(size_t)i * width + c];
    }
    sums[warp()][lane()] = sum;
    __syncthreads();
    if (warp() != 0) return;
    sum = 0;
    for (int t = 0; t < TEAMS; t++) sum += sums[t][lane()];
    float value = (float)(sum / (double)divisor);
    if (c < width) out[c] = value;
    double square = warpSum(c < width ? (double)value * (double)value : 0.0);
    if (lane() == 0) squares[blockIdx.x] = square;
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

// out[block] = Σ of 1024 squares.
extern "C" __global__ void __launch_bounds__(1024) sumParts(const double *squares, int count, double *out) {
    __shared__ double scratch[32];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    double sum = blockSum(i < count ? squares[i] : 0.0, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// The numbers of a step: blocks 0..<n sum the squares of a prefix, block n those of latents' gradients, block n + 1 those
// of the decoder bias'.
extern "C" __global__ void __launch_bounds__(1024) finishNumbers(
    const double *prefixSquares, int count, int n, const double *latentParts, int latentCount, const double *biasParts,
    int biasCount, double *numbers) {
    __shared__ double scratch[32];
    int i = blockIdx.x;
    const double *own = i < n ? prefixSquares + (size_t)i * count : i == n ? latentParts : biasParts;
    int end = i < n ? count : i == n ? latentCount : biasCount;
    double sum = 0;
    for (int e = threadIdx.x; e < end; e += blockDim.x) sum += own[e];
    sum = blockSum(sum, scratch);
    if (threadIdx.x == 0) numbers[i] = sum;
}
