// One step of Adam (arXiv:1412.6980, bias corrected, as in KernelTable.AdamStep) over encoder and decoder rows; decoder rows
// are then scaled back to unit norm. Encoder rows below `frozen` do not move. Every other latent moves, also one without
// gradient: its moments decay. Blocks 0..<F have a decoder row each, the rest an encoder row.

struct Adam {
    float beta1, beta2, epsilon, stepSize, inverseRootCorrection, gradientScale;
};

__device__ __forceinline__ float moved(float p, float g, float &m, float &v, const Adam &a) {
    g *= a.gradientScale;
    m = fmaf(a.beta1, m, (1 - a.beta1) * g);
    v = fmaf(a.beta2, v, (1 - a.beta2) * (g * g));
    return fmaf(-a.stepSize, m / (sqrtf(v) * a.inverseRootCorrection + a.epsilon), p);
}

__device__ __forceinline__ float4 moved4(float4 p, float4 g, float4 &m, float4 &v, const Adam &a) {
    return make_float4(
        moved(p.x, g.x, m.x, v.x, a), moved(p.y, g.y, m.y, v.y, a), moved(p.z, g.z, m.z, v.z, a),
        moved(p.w, g.w, m.w, v.w, a));
}

template <int V> __device__ __forceinline__ void adamRows(
    float4 *decoder, float4 *decoderFirst, float4 *decoderSecond, const float4 *decoderGradient, float4 *encoder,
    float4 *encoderFirst, float4 *encoderSecond, const float4 *encoderGradient, const unsigned char *touched,
    int latents, int frozen, int d4, Adam a) {
    __shared__ float scratch[8];
    bool isDecoder = blockIdx.x < latents;
    int j = isDecoder ? blockIdx.x : blockIdx.x - latents;
    if (!isDecoder && j < frozen) return;
    size_t row = (size_t)j * d4;
    float4 *p = (isDecoder ? decoder : encoder) + row;
    float4 *first = (isDecoder ? decoderFirst : encoderFirst) + row;
    float4 *second = (isDecoder ? decoderSecond : encoderSecond) + row;
    const float4 *gradient = (isDecoder ? decoderGradient : encoderGradient) + row;
    bool hasGradient = touched[j];
    float4 parameters[V], moments[V], squares[V], gradients[V];
#pragma unroll
    for (int v = 0; v < V; v++) {
        int c = v * blockDim.x + threadIdx.x;
        parameters[v] = gradients[v] = moments[v] = squares[v] = zero4();
        if (c >= d4) continue;
        parameters[v] = p[c];
        moments[v] = __ldcs(first + c);
        squares[v] = __ldcs(second + c);
        if (hasGradient) gradients[v] = __ldcs(gradient + c);
    }
    float square = 0;
#pragma unroll
    for (int v = 0; v < V; v++) {
        int c = v * blockDim.x + threadIdx.x;
        if (c >= d4) continue;
        parameters[v] = moved4(parameters[v], gradients[v], moments[v], squares[v], a);
        __stcs(first + c, moments[v]);
        __stcs(second + c, squares[v]);
        square += dot4(parameters[v], parameters[v]);
    }
    // ε of single precision, as the reference trainer's.
    float scale = isDecoder ? 1 / (sqrtf(blockSum(square, scratch)) + 1.1920929e-7f) : 1;
#pragma unroll
    for (int v = 0; v < V; v++) {
        int c = v * blockDim.x + threadIdx.x;
        if (c < d4) p[c] = isDecoder ? scaled(parameters[v], scale) : parameters[v];
    }
}

#define ADAM_ROWS(name, V) \
    extern "C" __global__ void __launch_bounds__(256) name( \
        float4 *decoder, float4 *decoderFirst, float4 *decoderSecond, const float4 *decoderGradient, float4 *encoder, \
        float4 *encoderFirst, float4 *encoderSecond, const float4 *encoderGradient, const unsigned char *touched, \
        int latents, int frozen, int d4, float beta1, float beta2, float epsilon, float stepSize, \
        float inverseRootCorrection, float gradientScale) { \
        adamRows<V>( \
            decoder, decoderFirst, decoderSecond, decoderGradient, encoder, encoderFirst, encoderSecond, \
            encoderGradient, touched, latents, frozen, d4, \
            Adam{beta1, beta2, epsilon, stepSize, inverseRootCorrection, gradientScale}); \
    }

ADAM_ROWS(adamRows1, 1)
ADAM_ROWS(adamRows2, 2)
ADAM_ROWS(adamRows3, 3)
ADAM_ROWS(adamRows4, 4)
ADAM_ROWS(adamRows6, 6)
ADAM_ROWS(adamRows8, 8)

// The same for both biases, one after the other.
extern "C" __global__ void adamBiases(
    float *p, float *first, float *second, const float *gradient, int count, float *otherP, float *otherFirst,
    float *otherSecond, const float *otherGradient, int otherCount, float beta1, float beta2, float epsilon,
    float stepSize, float inverseRootCorrection, float gradientScale) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    Adam a{beta1, beta2, epsilon, stepSize, inverseRootCorrection, gradientScale};
    if (i < count) {
        p[i] = moved(p[i], gradient[i], first[i], second[i], a);
    } else if (i - count < otherCount) {
        i -= count;
        otherP[i] = moved(otherP[i], otherGradient[i], otherFirst[i], otherSecond[i], a);
    }
}
