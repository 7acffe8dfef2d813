// Rows of attention's scores to probabilities and back, in place (CausalAttention.swift). A warp has a row.
//
// Row i of a group's block belongs to its query i / G, which sees the keys before number `visible` + i / G, of those the last
// `window`, or all for 0; where there is a cap c the scores are c·tanh(s/c), with slopes 1 − tanh².

__device__ __forceinline__ float warpMaximum(float x) {
    for (int offset = 16; offset > 0; offset >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL, x, offset));
    return x;
}

extern "C" __global__ void __launch_bounds__(256) softmaxRows(
    float *scores, int stride, int keys, int rows, int rowsOfBlock, int group, int visible, int window, float cap,
    float *slopes) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    size_t at = (size_t)row * stride;
    float *own = scores + at;
    int end = visible + row % rowsOfBlock / group, first = window > 0 ? max(0, end - window) : 0;
    float largest = __uint_as_float(0xff800000u);
    // Each lane comes back to its own numbers only.
    for (int k = first + lane(); k < end; k += 32) {
        float s = own[k];
        if (cap > 0) {
            float t = tanhf(s / cap);
            if (slopes) slopes[at + k] = 1 - t * t;
            s = cap * t;
            own[k] = s;
        }
        largest = fmaxf(largest, s);
    }
    largest = warpMaximum(largest);
    float sum = 0;
    for (int k = first + lane(); k < end; k += 32) {
        float e = expf(own[k] - largest);
        own[k] = e;
        sum += e;
    }
    float rate = 1 / warpSum(sum);
    for (int k = first + lane(); k < end; k += 32) own[k] *= rate;
    for (int k = lane(); k < first; k += 32) own[k] = 0;
    for (int k = end + lane(); k < keys; k += 32) own[k] = 0;
}

// forward:  P = softmax(s)    ⇒    ds = P ∘ (dP − Σ P∘dP), times the slope of a cap; in the place of dP
extern "C" __global__ void __launch_bounds__(256) softmaxRowsBackward(
    const float *probabilities, float *gradients, int stride, int keys, int rows, const float *slopes) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    size_t at = (size_t)row * stride;
    const float *p = probabilities + at;
    float *dp = gradients + at, mean = 0;
    for (int k = lane(); k < keys; k += 32) mean = fmaf(p[k], dp[k], mean);
    mean = warpSum(mean);
    for (int k = lane(); k < keys; k += 32) {
        // What is not seen has no slope.
        float ds = p[k] == 0 ? 0.0f : p[k] * (dp[k] - mean);
        dp[k] = slopes && ds != 0 ? ds * slopes[at + k] : ds;
    }
}
