// Heads between rows of tokens, as products with weights want them, and matrices of one head group each, as batched products do.
//
// A row has H query, K key and K value heads of h numbers; G = H/K query heads read one key head. B sequences of T tokens:
//   query [B·K, T, G, h]    key [B·K, P + T, h]    value [B·K, P + T, h]
// so that a group's queries are one matrix of T·G rows. P positions are before those of the pass, with keys and values that are there
// already; none on the way down. Queries and keys are normed and turned on the way (SelfAttention.swift,
// Rotary.swift); a warp has a head of a token.

// Where head j of a token lies.
__device__ __forceinline__ float *packed(
    float *query, float *key, float *value, int row, int j, int length, int past, int heads, int groups, int h) {
    int s = row / length, t = row % length, size = heads / groups;
    if (j < heads) return query + ((size_t)((s * groups + j / size) * length + t) * size + j % size) * h;
    int group = j < heads + groups ? j - heads : j - heads - groups;
    return (j < heads + groups ? key : value) + (size_t)((s * groups + group) * (past + length) + past + t) * h;
}

// `kept` [rows, (H + K)·h] receives what is normed, where heads are.
extern "C" __global__ void __launch_bounds__(256) splitHeads(
    const float *x, int stride, int rows, int length, int past, int heads, int groups, int h, const float *bias,
    const float *queryNorm, const float *keyNorm, float epsilon, const float *cosines, const float *sines, int half,
    float *query, float *key, float *value, float *kept) {
    int all = heads + 2 * groups, task = blockIdx.x * warps() + warp();
    if (task >= rows * all) return;
    int row = task / all, j = task % all;
    const float *own = x + (size_t)row * stride + j * h, *shift = bias ? bias + j * h : bias;
    float *out = packed(query, key, value, row, j, length, past, heads, groups, h);
    const float *norm = j < heads ? queryNorm : keyNorm;
    float r = 1;
    if (j >= heads + groups) {
        norm = nullptr;
        half = 0;
    }
    if (norm) {
        float squares = 0, *copy = kept ? kept + ((size_t)row * (heads + groups) + j) * h : kept;
        for (int i = lane(); i < h; i += 32) {
            float value = own[i] + (shift ? shift[i] : 0.0f);
            squares = fmaf(value, value, squares);
            if (copy) copy[i] = value;
        }
        r = 1 / sqrtf(warpSum(squares) / h + epsilon);
    }
    auto normed = [&](int i) {
        float value = own[i] + (shift ? shift[i] : 0.0f);
        return norm ? value * r * norm[i] : value;
    };
    size_t angle = (size_t)(past + row % length) * half;
    for (int i = lane(); i < half; i += 32) {
        float a = normed(i), b = normed(i + half), c = cosines[angle + i], s = sines[angle + i];
        out[i] = a * c - b * s;
        out[i + half] = b * c + a * s;
    }
    for (int i = 2 * half + lane(); i < h; i += 32) out[i] = normed(i);
}

// The gradient of x from those of queries, keys and values; `kept` as above. With `isConstant` what norms divide by counts as a constant.
extern "C" __global__ void __launch_bounds__(256) splitHeadsBackward(
    float *query, float *key, float *value, int rows, int length, int heads, int groups, int h, const float *queryNorm,
    const float *keyNorm, float epsilon, int isConstant, const float *cosines, const float *sines, int half,
    const float *kept, float *dx, int stride, unsigned short *factor, int factorStride) {
    int all = heads + 2 * groups, task = blockIdx.x * warps() + warp();
    if (task >= rows * all) return;
    int row = task / all, j = task % all;
    const float *dout = packed(query, key, value, row, j, length, 0, heads, groups, h);
    float *out = dx + (size_t)row * stride + j * h;
    if (factor) factor += (size_t)row * factorStride + j * h;
    const float *norm = j < heads ? queryNorm : keyNorm;
    if (j >= heads + groups) {
        norm = nullptr;
        half = 0;
    }
    size_t angle = (size_t)(row % length) * half;
    // forward:  (a, b) ← R·(a, b)    ⇒    the gradient turns back
    auto turned = [&](int i) {
        if (i >= 2 * half) return dout[i];
        bool isFirst = i < half;
        size_t at = angle + (isFirst ? i : i - half);
        float s = isFirst ? sines[at] : -sines[at];
        return dout[i] * cosines[at] + dout[isFirst ? i + half : i - half] * s;
    };
    float r = 1, b = 0;
    const float *x = norm ? kept + ((size_t)row * (heads + groups) + j) * h : kept;
    if (norm) {
        float squares = 0, along = 0;
        for (int i = lane(); i < h; i += 32) {
            squares = fmaf(x[i], x[i], squares);
            along = fmaf(x[i], norm[i] * turned(i), along);
        }
        r = 1 / sqrtf(warpSum(squares) / h + epsilon);
        b = isConstant ? 0.0f : -r * r * r / h * warpSum(along);
    }
    for (int i = lane(); i < h; i += 32) {
        float result = norm ? r * norm[i] * turned(i) + b * x[i] : turned(i);
        if (factor) {
            factor[i] = bfloat16(result);
        } else {
            out[i] = result;
        }
    }
}

// Rows of H·h from attention's results [B·K, T, G, h].
extern "C" __global__ void joinHeads(
    const float *mixed, int length, int heads, int groups, int h, float *x, int stride, unsigned short *factor,
    int factorStride) {
    int row = blockIdx.x, s = row / length, t = row % length, width = heads / groups * h;
    for (int c = threadIdx.x; c < heads * h; c += blockDim.x) {
        float value = mixed[((size_t)(s * groups + c / width) * length + t) * width + c % width];
        if (factor) {
            factor[(size_t)row * factorStride + c] = bfloat16(value);
        } else {
            x[(size_t)row * stride + c] = value;
        }
    }
}

// The other way.
extern "C" __global__ void partHeads(
    const float *x, int stride, int length, int heads, int groups, int h, float *mixed) {
    int row = blockIdx.x, s = row / length, t = row % length, width = heads / groups * h;
    for (int c = threadIdx.x; c < heads * h; c += blockDim.x)
        mixed[((size_t)(s * groups + c / width) * length + t) * width + c % width] = x[(size_t)row * stride + c];
}

// Keys or values [B·K, P, h] of the positions before a pass's, out of those of whole sequences of `length` tokens, of which the pass
// continues some; a block has some of a matrix.
extern "C" __global__ void fillPast(
    const float *kept, const int *sequences, int groups, int length, int past, int h, float *target) {
    int matrix = blockIdx.x, group = sequences[matrix / groups] * groups + matrix % groups;
    const float *from = kept + (size_t)group * length * h;
    float *to = target + (size_t)matrix * length * h;
    for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < past * h; i += gridDim.y * blockDim.x) to[i] = from[i];
}
