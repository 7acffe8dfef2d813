// y = w ∘ c·r + b of each row of d numbers, r = (Σ c²/d + ε)^(−1/2); c is x, or x less its mean (see Norm.swift). A warp has a row.

#define RATE(squares) (1 / sqrtf((squares) / d + epsilon))

// x − mean, and 0 for what pads a row: of the four numbers `left` and more are none.
__device__ __forceinline__ float4 less(float4 x, float mean, int left) {
    return make_float4(
        x.x - mean, left > 1 ? x.y - mean : 0.0f, left > 2 ? x.z - mean : 0.0f, left > 3 ? x.w - mean : 0.0f);
}

__device__ __forceinline__ float4 times(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

__device__ __forceinline__ float total(float4 x) { return (x.x + x.y) + (x.z + x.w); }

// The mean of a row, known to its warp; 0 where none is taken off.
__device__ __forceinline__ float meanOf(const float4 *x, int isLayer, int d, int d4) {
    if (!isLayer) return 0;
    float sum = 0;
    for (int c = lane(); c < d4; c += 32) sum += total(x[c]);
    return warpSum(sum) / d;
}

// y from x, or y += where it is to be added; `kept`, if there is one, receives x.
extern "C" __global__ void __launch_bounds__(256) normRows(
    const float4 *x, const float4 *weight, const float4 *bias, float epsilon, int isLayer, int rows, int d, int d4,
    int isAdded, float4 *y, float4 *kept, unsigned short *factor, int factorStride) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    size_t at = (size_t)row * d4;
    const float4 *own = x + at;
    float mean = meanOf(own, isLayer, d, d4), squares = 0;
    for (int c = lane(); c < d4; c += 32) {
        float4 value = less(own[c], mean, d - 4 * c);
        squares += dot4(value, value);
    }
    float r = RATE(warpSum(squares));
    for (int c = lane(); c < d4; c += 32) {
        float4 read = own[c], result = isAdded ? y[at + c] : zero4();
        addScaled(result, r, times(__ldg(weight + c), less(read, mean, d - 4 * c)));
        if (bias) addScaled(result, 1, __ldg(bias + c));
        if (kept) kept[at + c] = read;
        if (factor) {
            ((ushort4 *)(factor + (size_t)row * factorStride))[c] = rounded4(result);
        } else {
            y[at + c] = result;
        }
    }
}

// dx from dy, or dx += where it is to be added, given what was normed:
//   dc = r·w∘dy − c·(r³/d)·Σ c∘w∘dy,  dx = dc, less its mean where the mean was taken off
// Where r counts as a constant, dc is its first term.
extern "C" __global__ void __launch_bounds__(256) normRowsBackward(
    const float4 *x, const float4 *weight, const float4 *dy, float epsilon, int isLayer, int isConstant, int rows,
    int d, int d4, int isAdded, float4 *dx) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    size_t at = (size_t)row * d4;
    const float4 *own = x + at;
    float mean = meanOf(own, isLayer, d, d4), squares = 0, along = 0, sum = 0;
    for (int c = lane(); c < d4; c += 32) {
        float4 value = less(own[c], mean, d - 4 * c), g = times(__ldg(weight + c), dy[at + c]);
        squares += dot4(value, value);
        along += dot4(value, g);
        sum += total(g);
    }
    float r = RATE(warpSum(squares)), b = isConstant ? 0.0f : -r * r * r / d * warpSum(along);
    // Σ c is 0, so the mean of dc is that of its first term.
    float shift = isLayer ? r * warpSum(sum) / d : 0.0f;
    for (int c = lane(); c < d4; c += 32) {
        float4 value = less(own[c], mean, d - 4 * c), result = isAdded ? dx[at + c] : zero4(), dc = zero4();
        addScaled(dc, r, times(__ldg(weight + c), dy[at + c]));
        addScaled(dc, b, value);
        addScaled(result, 1, less(dc, shift, d - 4 * c));
        dx[at + c] = result;
    }
}

// σ = 1/r of each row.
extern "C" __global__ void __launch_bounds__(256) normScales(
    const float4 *x, float epsilon, int isLayer, int rows, int d, int d4, float *scales) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    const float4 *own = x + (size_t)row * d4;
    float mean = meanOf(own, isLayer, d, d4), squares = 0;
    for (int c = lane(); c < d4; c += 32) {
        float4 value = less(own[c], mean, d - 4 * c);
        squares += dot4(value, value);
    }
    squares = warpSum(squares);
    if (lane() == 0) scales[row] = sqrtf(squares / d + epsilon);
}
