// For each latent j, over its entries e in rows b, with S of the first prefix that has j:
//   deltas[e] = ∂L/∂f = ⟨S_b, W_dec,j⟩
//   ∂L/∂W_dec,j = Σ_e f_e S_b − along·W_dec,j, along = Σ_e f_e δ_e / (1 + 10⁻⁶)² with `projecting`, else 0
//   ∂L/∂W_enc,j = Σ_e δ_e (x_b − b_dec), unless j is frozen;   ∂L/∂b_enc,j = Σ_e δ_e
// and squares[j], that of the norm of the three. Latents without entry are marked as such, and nothing else is written.
//
// One block a latent: its decoder row and both sums stay in registers, what it meets in rows of the batch comes from the
// second-level cache. `parts` 1 is the decoder, 2 the encoder (with the deltas that are there), 3 both.

#define BATCH 32

template <int V> __device__ __forceinline__ void differentiate(
    const float4 *decoder, const float4 *sums, const float4 *centered, int rows, int d4, const int *prefixes,
    const int *offsets, const int *entryRows, const float *entryValues, float *deltas, int frozen, int projecting,
    int parts, float4 *decoderGradient, float4 *encoderGradient, float *biasGradient, double *squares,
    unsigned char *touched) {
    __shared__ float partial[BATCH][8];
    __shared__ float delta[BATCH];
    __shared__ double scratch[8];
    __shared__ double totals[2];
    int j = blockIdx.x, begin = offsets[j], end = offsets[j + 1];
    if (begin == end) {
        if (threadIdx.x == 0) {
            touched[j] = 0;
            biasGradient[j] = 0;
            squares[j] = 0;
        }
        return;
    }
    int prefix = 0;
    while (j >= prefixes[prefix]) prefix++;
    const float4 *own = sums + (size_t)prefix * rows * d4;
    bool withDecoder = parts & 1, withEncoder = parts & 2;
    float4 w[V], forDecoder[V], forEncoder[V];
#pragma unroll
    for (int v = 0; v < V; v++) {
        int c = v * blockDim.x + threadIdx.x;
        w[v] = c < d4 ? decoder[(size_t)j * d4 + c] : zero4();
        forDecoder[v] = zero4();
        forEncoder[v] = zero4();
    }
    double along = 0, sum = 0;
    for (int first = begin; first < end; first += BATCH) {
        int count = min(BATCH, end - first);
        if (withDecoder) {
            // One row at a time: two under way take registers that cost more blocks than they gain (15% slower on an H100).
            for (int k = 0; k < count; k++) {
                const float4 *s = own + (size_t)entryRows[first + k] * d4;
                float f = entryValues[first + k], dot = 0;
#pragma unroll
                for (int v = 0; v < V; v++) {
                    int c = v * blockDim.x + threadIdx.x;
                    if (c < d4) {
                        float4 value = __ldg(s + c);
                        addScaled(forDecoder[v], f, value);
                        dot += dot4(value, w[v]);
                    }
                }
                dot = warpSum(dot);
                if (lane() == 0) partial[k][warp()] = dot;
            }
            __syncthreads();
            if (threadIdx.x < count) {
                float total = 0;
                for (int i = 0; i < warps(); i++) total += partial[threadIdx.x][i];
                delta[threadIdx.x] = total;
                deltas[first + threadIdx.x] = total;
            }
        } else if (threadIdx.x < count) {
            delta[threadIdx.x] = deltas[first + threadIdx.x];
        }
        __syncthreads();
        if (warp() == 0) {
            double own = lane() < count ? (double)delta[lane()] : 0;
            along += warpSum(lane() < count ? own * (double)entryValues[first + lane()] : 0.0);
            sum += warpSum(own);
        }
        if (withEncoder && j >= frozen) {
            for (int k = 0; k < count; k++) {
                const float4 *x = centered + (size_t)entryRows[first + k] * d4;
                float factor = delta[k];
#pragma unroll
                for (int v = 0; v < V; v++) {
                    int c = v * blockDim.x + threadIdx.x;
                    if (c < d4) addScaled(forEncoder[v], factor, __ldg(x + c));
                }
            }
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        totals[0] = projecting ? along / ((1 + 1e-6) * (1 + 1e-6)) : 0;
        totals[1] = sum;
    }
    __syncthreads();
    float parallel = (float)totals[0];
    float ofDecoder = 0, ofEncoder = 0;
#pragma unroll
    for (int v = 0; v < V; v++) {
        int c = v * blockDim.x + threadIdx.x;
        if (c >= d4) continue;
        addScaled(forDecoder[v], -parallel, w[v]);
        ofDecoder += dot4(forDecoder[v], forDecoder[v]);
        ofEncoder += dot4(forEncoder[v], forEncoder[v]);
        if (withDecoder) decoderGradient[(size_t)j * d4 + c] = forDecoder[v];
        if (withEncoder && j >= frozen) encoderGradient[(size_t)j * d4 + c] = forEncoder[v];
    }
    double decoderSquare = blockSum((double)ofDecoder, scratch), encoderSquare = blockSum((double)ofEncoder, scratch);
    if (threadIdx.x != 0) return;
    double square = withDecoder ? decoderSquare : squares[j];
    if (withDecoder) touched[j] = 1;
    if (withEncoder) {
        float bias = (float)totals[1];
        biasGradient[j] = bias;
        square += encoderSquare + (double)bias * (double)bias;
    }
    squares[j] = square;
}

#define DIFFERENTIATE(name, V) \
    extern "C" __global__ void __launch_bounds__(256) name( \
        const float4 *decoder, const float4 *sums, const float4 *centered, int rows, int d4, const int *prefixes, \
        const int *offsets, const int *entryRows, const float *entryValues, float *deltas, int frozen, int projecting, \
        int parts, float4 *decoderGradient, float4 *encoderGradient, float *biasGradient, double *squares, \
        unsigned char *touched) { \
        differentiate<V>( \
            decoder, sums, centered, rows, d4, prefixes, offsets, entryRows, entryValues, deltas, frozen, projecting, \
            parts, decoderGradient, encoderGradient, biasGradient, squares, touched); \
    }

DIFFERENTIATE(differentiate1, 1)
DIFFERENTIATE(differentiate2, 2)
DIFFERENTIATE(differentiate3, 3)
DIFFERENTIATE(differentiate4, 4)
DIFFERENTIATE(differentiate6, 6)
DIFFERENTIATE(differentiate8, 8)

// ∂L/∂f of the candidates that a rule was shown, and what it puts in their place.
extern "C" __global__ void gatherDeltas(const float *deltas, const int *places, const int *codePlaces, int count, float *shown) {
    int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e < count) shown[e] = deltas[places[codePlaces[e]]];
}

extern "C" __global__ void scatterDeltas(const float *shown, const int *places, const int *codePlaces, int count, float *deltas) {
    int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e < count) deltas[places[codePlaces[e]]] = shown[e];
}

// Entries of latents that are dead get no gradient.
extern "C" __global__ void clearDeltas(const int *latents, int count, const int *offsets, float *deltas) {
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
        int j = latents[i];
        for (int e = offsets[j] + threadIdx.x; e < offsets[j + 1]; e += blockDim.x) deltas[e] = 0;
    }
}
