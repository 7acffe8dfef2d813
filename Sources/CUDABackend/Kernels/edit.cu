// Rows of suffixes from those of their batch (SuffixReplay.swift): row r is row own[r] of the batch's values, or, where given[r] is
// not negative, that row of those that were brought along; its additions offsets[r] ..< offsets[r + 1] come on top in their order, and
// last what values are added to, where there is such a thing.
extern "C" __global__ void editRows(
    const float4 *values, const float4 *base, const int *own, const float4 *brought, const int *given,
    const int *offsets, const int *directions, const float *factors, const float4 *rows, float4 *x, int d4) {
    int r = blockIdx.x, c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= d4) return;
    size_t at = (size_t)own[r] * d4 + c;
    float4 sum = given[r] < 0 ? values[at] : brought[(size_t)given[r] * d4 + c];
    for (int e = offsets[r]; e < offsets[r + 1]; e++) addScaled(sum, factors[e], rows[(size_t)directions[e] * d4 + c]);
    if (base) addScaled(sum, 1, base[at]);
    x[(size_t)r * d4 + c] = sum;
}
