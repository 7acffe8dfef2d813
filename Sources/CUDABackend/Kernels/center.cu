// centered[b] = x[b] + shift·bias, shift −1, or 0 for an SAE that does not subtract it.
extern "C" __global__ void center(const float4 *x, const float4 *bias, float shift, float4 *centered, int d4) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= d4) return;
    size_t at = (size_t)blockIdx.x * d4 + c;
    float4 value = x[at];
    addScaled(value, shift, bias[c]);
    centered[at] = value;
}

// y[b] += x[b].
extern "C" __global__ void addRows(const float4 *x, float4 *y, int d4) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= d4) return;
    size_t at = (size_t)blockIdx.x * d4 + c;
    float4 value = y[at];
    addScaled(value, 1, x[at]);
    y[at] = value;
}
