// What enters the first block: x[r] = scale·embedding[ids[r]], and where positions were learned plus that of r's position.
extern "C" __global__ void embed(
    const int *ids, const float4 *embedding, const float4 *positions, float scale, int length, int d4, float4 *x) {
    int r = blockIdx.x, c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= d4) return;
    float4 value = scaled(__ldg(embedding + (size_t)ids[r] * d4 + c), scale);
    if (positions) addScaled(value, 1, positions[(size_t)(r % length) * d4 + c]);
    x[(size_t)r * d4 + c] = value;
}

// The same of an embedding in bfloat16, with e4 times four numbers in a row.
extern "C" __global__ void embedRounded(
    const int *ids, const ushort4 *embedding, int e4, const float4 *positions, float scale, int length, int d4,
    float4 *x) {
    int r = blockIdx.x, c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= d4) return;
    ushort4 own = embedding[(size_t)ids[r] * e4 + c];
    float4 value = scaled(make_float4(widened(own.x), widened(own.y), widened(own.z), widened(own.w)), scale);
    if (positions) addScaled(value, 1, positions[(size_t)(r % length) * d4 + c]);
    x[(size_t)r * d4 + c] = value;
}
