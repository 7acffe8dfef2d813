// Losses of tokens and divergences between two rows of logits [rows, words], which are capped on the way: l = c·tanh(l₀/c) where there
// is a cap c, with the slope 1 − tanh². A block has a row.

// What log Σ_v e^(l_v) of a row is made of, known to all threads: the largest l, and Σ_v e^(l_v − largest).
struct LogSum {
    float largest;
    double sum;

    __device__ __forceinline__ double value() const { return (double)largest + log(sum); }
};

__device__ __forceinline__ float capped(float logit, float cap) { return cap > 0 ? __fmul_rn(cap, tanhf(logit / cap)) : logit; }

__device__ __forceinline__ LogSum logSum(const float *own, int words, float cap, float *maxima, double *scratch) {
    float largest = __uint_as_float(0xff800000u), sum = 0;
    for (int v = threadIdx.x; v < words; v += blockDim.x) {
        float l = capped(own[v], cap);
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
    LogSum found;
    found.largest = most;
    found.sum = blockSum(threadIdx.x < words ? (double)sum * (double)expf(largest - most) : 0.0, scratch);
    return found;
}

// Element v of the gradient of a block's row of logits.
__device__ __forceinline__ void keep(float value, float *own, unsigned short *factor, int factorStride, int v) {
    if (factor) {
        factor[(size_t)blockIdx.x * factorStride + v] = bfloat16(value);
    } else {
        own[v] = value;
    }
}

// forward:  loss = log Σ_v e^(l_v) − l_target    ⇒    dl = p − 1 at the target. The gradient times the row's weight takes the place of the
// logits, if there are weights. A target of −1 has loss 0.
extern "C" __global__ void __launch_bounds__(1024) tokenLosses(
    float *logits, int stride, int words, const int *targets, float cap, const float *weights, float *losses,
    unsigned short *factor, int factorStride) {
    __shared__ float maxima[32];
    __shared__ double scratch[32];
    float *own = logits + (size_t)blockIdx.x * stride;
    int target = targets[blockIdx.x];
    if (target < 0) {
        if (threadIdx.x == 0) losses[blockIdx.x] = 0;
        if (!weights) return;
        for (int v = threadIdx.x; v < words; v += blockDim.x) keep(0, own, factor, factorStride, v);
        return;
    }
    LogSum all = logSum(own, words, cap, maxima, scratch);
    if (threadIdx.x == 0)
        losses[blockIdx.x] = (float)((double)all.largest - (double)capped(own[target], cap) + log(all.sum));
    if (!weights) return;
    // The target's logit was read by another thread than the one that overwrites it.
    __syncthreads();
    float rate = (float)(1 / all.sum), weight = weights[blockIdx.x];
    for (int v = threadIdx.x; v < words; v += blockDim.x) {
        float t = cap > 0 ? tanhf(own[v] / cap) : 0.0f, l = cap > 0 ? cap * t : own[v];
        float dl = expf(l - all.largest) * rate - (v == target ? 1.0f : 0.0f);
        keep(weight * (cap > 0 ? dl * (1 - t * t) : dl), own, factor, factorStride, v);
    }
}

// forward:  KL(p° ‖ p) = Σ_v p°_v (log p°_v − log p_v), p° of `others`    ⇒    dl = p − p°, as above in the place of the logits. What is summed
// cancels, so that it is in double precision; a row against itself is 0.
extern "C" __global__ void __launch_bounds__(1024) tokenDivergences(
    float *logits, const float *others, int stride, int words, float cap, const float *weights, float *values,
    unsigned short *factor, int factorStride) {
    __shared__ float maxima[32];
    __shared__ double scratch[32];
    size_t at = (size_t)blockIdx.x * stride;
    float *own = logits + at;
    const float *other = others + at;
    LogSum all = logSum(own, words, cap, maxima, scratch);
    LogSum allOther = logSum(other, words, cap, maxima, scratch);
    double total = 0, norm = all.value(), normOther = allOther.value();
    float rate = (float)(1 / all.sum), rateOther = (float)(1 / allOther.sum);
    float weight = weights ? weights[blockIdx.x] : 0.0f;
    // Products are rounded by themselves, as a compiler need not do: p − p° of a row against itself is to be 0.
    for (int v = threadIdx.x; v < words; v += blockDim.x) {
        float t = cap > 0 ? tanhf(own[v] / cap) : 0.0f, l = cap > 0 ? __fmul_rn(cap, t) : own[v];
        float lOther = capped(other[v], cap), pOther = __fmul_rn(expf(lOther - allOther.largest), rateOther);
        total += (double)pOther * (((double)lOther - normOther) - ((double)l - norm));
        if (!weights) continue;
        float dl = __fmul_rn(expf(l - all.largest), rate) - pOther;
        keep(weight * (cap > 0 ? dl * (1 - t * t) : dl), own, factor, factorStride, v);
    }
    total = blockSum(total, scratch);
    // Rounding makes it −1e-17 where both are nearly the same. What is no number stays none.
    if (threadIdx.x == 0) values[blockIdx.x] = total < 0 ? 0.0f : (float)total;
}

// c·tanh(l/c), in place.
extern "C" __global__ void capLogits(float *logits, int stride, int words, float cap) {
    int v = blockIdx.y * blockDim.x + threadIdx.x;
    if (v >= words) return;
    float *own = logits + (size_t)blockIdx.x * stride + v;
    *own = capped(*own, cap);
}
