// AuxK (arXiv:2406.04093): per token the k largest positive pre-activations of dead latents are z; ê = z W_dec; L_aux =
// Σ_b ‖r − ê‖² / Σ_b ‖r − r̄‖². See AuxiliaryLoss.swift. Dead latents are few or many, so z [B, dead] is kept dense and the
// products are the library's; here is what lies between them.

// out[i] = x[latents[i]], rows of D.
extern "C" __global__ void gatherRows(const float4 *x, const int *latents, int d4, float4 *out) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c < d4) out[(size_t)blockIdx.x * d4 + c] = x[(size_t)latents[blockIdx.x] * d4 + c];
}

// Row by row: z = p where p = product + bias is among the k largest positive ones, of equal ones in the first
// columns, else 0; in place. One block a row.
extern "C" __global__ void __launch_bounds__(256) chooseLargest(
    float *z, int stride, int count, const int *latents, const float *bias, int k) {
    __shared__ u32 digits[256];
    __shared__ u32 state[2];
    __shared__ int counts[8];
    float *row = z + (size_t)blockIdx.x * stride;
    for (int c = threadIdx.x; c < count; c += blockDim.x) row[c] = fmaxf(row[c] + bias[latents[c]], 0.0f);
    // Digit by digit the bits of the k-th largest; 0 if fewer are positive.
    u32 known = 0, remaining = k;
    for (int shift = 24; shift >= 0; shift -= 8) {
        __syncthreads();
        if (threadIdx.x < 256) digits[threadIdx.x] = 0;
        __syncthreads();
        for (int c = threadIdx.x; c < count; c += blockDim.x) {
            u32 bits = __float_as_uint(row[c]);
            if (shift == 24 || bits >> (shift + 8) == known >> (shift + 8)) atomicAdd(&digits[bits >> shift & 255], 1u);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            u32 above = 0;
            int digit = 255;
            while (digit > 0 && above + digits[digit] < remaining) above += digits[digit--];
            state[0] = known | (u32)digit << shift;
            state[1] = remaining - above;
        }
        __syncthreads();
        known = state[0];
        remaining = state[1];
    }
    float least = __uint_as_float(known);
    int ties = remaining;
    for (int first = 0; first < count; first += blockDim.x) {
        int c = first + threadIdx.x;
        float value = c < count ? row[c] : 0;
        bool isEqual = c < count && value == least;
        u32 equals = __ballot_sync(ALL, isEqual);
        __syncthreads();
        if (lane() == 0) counts[warp()] = __popc(equals);
        __syncthreads();
        int before = __popc(equals & below()), whole = 0;
        for (int w = 0; w < warps(); w++) {
            if (w < warp()) before += counts[w];
            whole += counts[w];
        }
        if (c < count && !(value > least || (isEqual && before < ties))) row[c] = 0;
        ties -= min(ties, whole);
    }
}

// What chooseLargest has left of each row, in its order: which latents, and their z, [rows, most], and how many. One warp a row.
extern "C" __global__ void listChosen(
    const float *z, int stride, int count, int rows, int most, const int *latents, int *columns, float *values,
    int *counts) {
    int row = blockIdx.x * warps() + warp(), found = 0;
    if (row >= rows) return;
    for (int first = 0; first < count; first += 32) {
        int c = first + lane();
        float value = c < count ? z[(size_t)row * stride + c] : 0;
        u32 chosen = __ballot_sync(ALL, value > 0);
        if (value > 0) {
            size_t at = (size_t)row * most + found + __popc(chosen & below());
            columns[at] = latents[c];
            values[at] = value;
        }
        found += __popc(chosen);
    }
    if (lane() == 0) counts[row] = found;
}

// Makes 0 what is listed and not marked.
extern "C" __global__ void dropUnmarked(float *z, int stride, int count, int rows, int most, const unsigned char *marks) {
    int row = blockIdx.x * warps() + warp(), found = 0;
    if (row >= rows) return;
    for (int first = 0; first < count; first += 32) {
        int c = first + lane();
        float *at = z + (size_t)row * stride + c;
        bool isChosen = c < count && *at > 0;
        u32 chosen = __ballot_sync(ALL, isChosen);
        if (isChosen && !marks[(size_t)row * most + found + __popc(chosen & below())]) *at = 0;
        found += __popc(chosen);
    }
}

// out[b] = Σ (x_b − shift)², one block a row; shift may be 0.
extern "C" __global__ void __launch_bounds__(256) squareRows(const float4 *x, const float4 *shift, int d4, double *out) {
    __shared__ double scratch[8];
    double sum = 0;
    for (int c = threadIdx.x; c < d4; c += blockDim.x) {
        float4 value = x[(size_t)blockIdx.x * d4 + c];
        if (shift) addScaled(value, -1, shift[c]);
        sum += (double)dot4(value, value);
    }
    sum = blockSum(sum, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// loss[0] = L_aux, loss[1] = den = Σ ‖r − r̄‖²/B, loss[2] = −2α/(B·den), all 0 where r has no variance.
extern "C" __global__ void finishAuxiliary(const double *squares, const double *variance, int rows, double weight, double *loss) {
    double den = *variance / rows;
    loss[0] = den > 0 ? *squares / rows / den : 0;
    loss[1] = den > 0 ? den : 0;
    loss[2] = den > 0 ? -2 * weight / (rows * den) : 0;
}

// dz = factor·dz where z > 0, else 0; [B, count] each.
extern "C" __global__ void maskGradient(float *dz, int dzStride, const float *z, int zStride, int count, const double *loss) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= count) return;
    float *target = dz + (size_t)blockIdx.x * dzStride + c;
    *target = z[(size_t)blockIdx.x * zStride + c] > 0 ? (float)loss[2] * *target : 0;
}

// Per latent: Σ_b z·dz and Σ_b dz. A thread has one.
extern "C" __global__ void sumAuxiliary(
    const float *dz, int dzStride, const float *z, int zStride, int rows, int count, double *along, float *biasGradient) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= count) return;
    double products = 0, sum = 0;
#pragma unroll 4
    for (int b = 0; b < rows; b++) {
        double d = dz[(size_t)b * dzStride + c];
        products += d * (double)z[(size_t)b * zStride + c];
        sum += d;
    }
    along[c] = products;
    biasGradient[c] = (float)sum;
}

// Gradients of dead latents to their places, the decoder's scaled and without its part along the row. One block a latent.
extern "C" __global__ void __launch_bounds__(256) scatterAuxiliary(
    const int *latents, const float4 *decoder, int d4, const float4 *decoderRows, const float4 *encoderRows,
    const double *along, const float *biases, const double *loss, int frozen, int projecting, float4 *decoderGradient,
    float4 *encoderGradient, float *biasGradient, double *squares, unsigned char *touched) {
    __shared__ double scratch[8];
    int i = blockIdx.x, j = latents[i];
    float factor = (float)loss[2], parallel = projecting ? (float)(along[i] / ((1 + 1e-6) * (1 + 1e-6))) : 0;
    double ofDecoder = 0, ofEncoder = 0;
    for (int c = threadIdx.x; c < d4; c += blockDim.x) {
        size_t from = (size_t)i * d4 + c, to = (size_t)j * d4 + c;
        float4 g = scaled(decoderRows[from], factor);
        addScaled(g, -parallel, decoder[to]);
        decoderGradient[to] = g;
        ofDecoder += (double)dot4(g, g);
        if (j < frozen) continue;
        float4 h = encoderRows[from];
        encoderGradient[to] = h;
        ofEncoder += (double)dot4(h, h);
    }
    ofDecoder = blockSum(ofDecoder, scratch);
    ofEncoder = blockSum(ofEncoder, scratch);
    if (threadIdx.x != 0) return;
    biasGradient[j] = biases[i];
    squares[j] = ofDecoder + ofEncoder + (double)biases[i] * (double)biases[i];
    touched[j] = 1;
}
