// y = x rounded to bfloat16, to the nearest, of two to the even one. A row of x has d4 times four numbers, of y y4 times; what is more
// of y is 0.
extern "C" __global__ void roundRows(const float4 *x, int d4, ushort4 *y, int y4) {
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= y4) return;
    float4 value = c < d4 ? x[(size_t)blockIdx.x * d4 + c] : zero4();
    y[(size_t)blockIdx.x * y4 + c] = rounded4(value);
}
