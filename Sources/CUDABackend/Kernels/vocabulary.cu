// Losses of tokens from rows of logits [rows, words]; a block has a row.

// forward:  loss = log Σ_v e^(l_v) − l_target    ⇒    dl = p − 1 at the target; where there is a cap c, l = c·tanh(l₀/c)
// and dl₀ = dl·(1 − tanh²). The gradient, if it is asked for, takes the place of the logits. A target of −1 has loss 0.
extern "C" __global__ void __launch_bounds__(1024) tokenLosses(
    float *logits, int stride, int words, const int *targets, float cap, int isDifferentiated, float *losses) {
    __shared__ float maxima[32];
    __shared__ double scratch[32];
    float *own = logits + (size_t)blockIdx.x * stride;
    int target = targets[blockIdx.x];
    if (target < 0) {
        if (threadIdx.x == 0) losses[blockIdx.x] = 0;
        if (!isDifferentiated) return;
        for (int v = threadIdx.x; v < words; v += blockDim.x) own[v] = 0;
        return;
    }
    auto logit = [&](float value) { return cap > 0 ? cap * tanhf(value / cap) : value; };
    float largest = __uint_as_float(0xff800000u), sum = 0;
    for (int v = threadIdx.x; v < words; v += blockDim.x) {
        float l = logit(own[v]);
        if (l > largest) {
            sum = fmaf(sum, expf(largest - l), 1.0f);
            largest = l;
        } else {
            sum += expf(l - largest);
        }
    }
    float most = largest;
    for (int offset = 16; offset > 0; offset >>= 1) most = fmaxf(most, __shfl_xor_sync(ALL, most, offset));
    if (lane() == 0) maxima[warp()] = most;
    __syncthreads();
    for (int w = 0; w < warps(); w++) most = fmaxf(most, maxima[w]);
    // A thread that has no word has nothing to rescale.
    double all = blockSum(threadIdx.x < words ? (double)sum * (double)expf(largest - most) : 0.0, scratch);
    if (threadIdx.x == 0) losses[blockIdx.x] = (float)((double)most - (double)logit(own[target]) + log(all));
    if (!isDifferentiated) return;
    // The target's logit was read by another thread than the one that overwrites it.
    __syncthreads();
    float rate = (float)(1 / all);
    for (int v = threadIdx.x; v < words; v += blockDim.x) {
        float t = cap > 0 ? tanhf(own[v] / cap) : 0.0f, l = cap > 0 ? cap * t : own[v];
        float dl = expf(l - most) * rate - (v == target ? 1.0f : 0.0f);
        own[v] = cap > 0 ? dl * (1 - t * t) : dl;
    }
}

// c·tanh(l/c), in place.
extern "C" __global__ void capLogits(float *logits, int stride, int words, float cap) {
    int v = blockIdx.y * blockDim.x + threadIdx.x;
    if (v >= words) return;
    float *own = logits + (size_t)blockIdx.x * stride + v;
    *own = cap * tanhf(*own / cap);
}
