// a(z) ∘ u of gated perceptrons, whose rows hold z [m] and u [m]; a(z + b) of plain ones (Perceptron.swift, Activations.swift).

#define SILU 0
#define GELU_TANH 1
#define GELU 2

__device__ __forceinline__ float sigmoid(float z) { return 1 / (1 + expf(-z)); }

// g of a(z) = z·g(z), and (z·g)′.
__device__ __forceinline__ float gate(int kind, float z, float &slope) {
    if (kind == SILU || kind == GELU_TANH) {
        // GELU by tanh is z·σ(s), s = 2√(2/π)(z + 0.044715 z³); beyond ±20 the slope of s meets a zero.
        float near = fminf(fmaxf(z, -20.0f), 20.0f);
        float s = kind == SILU ? z : z * fmaf(0.071354814f, z * z, 1.5957691f);
        float rate = kind == SILU ? z : z * fmaf(3 * 0.071354814f, near * near, 1.5957691f);
        float g = sigmoid(s);
        slope = g * fmaf(rate, 1 - g, 1.0f);
        return g;
    }
    // One that this text does not know must not pass for another.
    if (kind != GELU) return slope = nanf("");
    float distribution = 0.5f * erfcf(-0.70710678f * z);
    slope = fmaf(0.39894228f * expf(-0.5f * z * z), z, distribution);
    return distribution;
}

// hidden [rows, m] from z, which receives its bias, where there is one.
extern "C" __global__ void activate(
    float *z, int stride, const float *bias, int kind, int isGated, int m, float *hidden, int hiddenStride,
    unsigned short *factor, int factorStride) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= m) return;
    float *own = z + (size_t)blockIdx.x * stride, value = own[c], slope;
    if (bias) {
        value += bias[c];
        own[c] = value;
    }
    float result = value * gate(kind, value, slope);
    if (isGated) result *= own[m + c];
    if (factor) {
        factor[(size_t)blockIdx.x * factorStride + c] = bfloat16(result);
    } else {
        hidden[(size_t)blockIdx.x * hiddenStride + c] = result;
    }
}

// The gradient of z and u, in their place, from that of what came of them. With `isLinear` a(z) counts as z times the constant g(z), and of
// a product each factor has half.
extern "C" __global__ void activateBackward(
    const float *dhidden, int hiddenStride, float *z, int stride, int kind, int isGated, int isLinear, int m,
    unsigned short *factor, int factorStride) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= m) return;
    float *own = z + (size_t)blockIdx.x * stride, value = own[c], d = dhidden[(size_t)blockIdx.x * hiddenStride + c], slope;
    float g = gate(kind, value, slope);
    if (isLinear) slope = g;
    if (isGated && isLinear) d *= 0.5f;
    float dz = isGated ? d * own[m + c] * slope : d * slope, du = d * value * g;
    if (factor) {
        factor += (size_t)blockIdx.x * factorStride;
        factor[c] = bfloat16(dz);
        if (isGated) factor[m + c] = bfloat16(du);
    } else {
        own[c] = dz;
        if (isGated) own[m + c] = du;
    }
}
