// From a tile of products to candidates: column and value wherever p = product + bias is above `floor` and, if there are any,
// its latent's threshold; of exempt latents wherever p > 0.
//
// One block a row, a range of columns a warp. Blocks take room in the list as they come; what a row has in a tile is whole,
// columns ascending, and `segments` say where, so that the list's order decides nothing.

#define WARPS 8
#define TILE 4096
#define RANGE (TILE / WARPS)

extern "C" __global__ void __launch_bounds__(256) collect(
    const float *products, int stride, int first, int count, const float *bias, const float *thresholds, int exempt,
    float floor, u32 capacity, int *columns, float *values, uint2 *segments, int tile, int tiles, Status *status) {
    __shared__ int foundColumns[WARPS][RANGE];
    __shared__ float foundValues[WARPS][RANGE];
    __shared__ int counts[WARPS];
    __shared__ u32 cores[WARPS];
    __shared__ u64 start;
    const float *row = products + (size_t)blockIdx.x * stride;
    int begin = warp() * RANGE, end = min(begin + RANGE, count), found = 0;
    u32 core = 0;
    for (int c = begin; c < end; c += 128) {
        int at = c + 4 * lane(), j = first + at;
        float4 product = zero4(), shift = zero4(), least = zero4();
        if (at < end) {
            product = *(const float4 *)(row + at);
            shift = *(const float4 *)(bias + j);
            if (thresholds) least = *(const float4 *)(thresholds + j);
        }
        float p[4] = {product.x + shift.x, product.y + shift.y, product.z + shift.z, product.w + shift.w};
        float own[4] = {least.x, least.y, least.z, least.w};
        u32 above[4];
        int before = 0;
        bool any = false;
        for (int i = 0; i < 4; i++) {
            float limit = j + i < exempt ? 0.0f : fmaxf(floor, own[i]);
            above[i] = __ballot_sync(ALL, at + i < end && p[i] > limit);
            any = any || above[i] != 0;
            before += __popc(above[i] & below());
        }
        if (!any) continue;
        for (int i = 0; i < 4; i++) {
            if (above[i] >> lane() & 1) {
                foundColumns[warp()][found + before] = j + i;
                foundValues[warp()][found + before] = p[i];
                before++;
                if (j + i < exempt) core++;
                if (isinf(p[i])) atomicMax(&status->infinite, ~(u32)(j + i));
            }
        }
        for (int i = 0; i < 4; i++) found += __popc(above[i]);
    }
    core = warpSum(core);
    if (lane() == 0) {
        counts[warp()] = found;
        cores[warp()] = core;
    }
    __syncthreads();
    int total = 0, own = 0;
    u32 coreTotal = 0;
    for (int w = 0; w < WARPS; w++) {
        if (w == warp()) own = total;
        total += counts[w];
        coreTotal += cores[w];
    }
    if (threadIdx.x == 0) {
        start = total > 0 ? atomicAdd(&status->found, (u64)total) : 0;
        if (coreTotal > 0) atomicAdd(&status->core, coreTotal);
        segments[(size_t)blockIdx.x * tiles + tile] = make_uint2((u32)start, start + total <= capacity ? total : 0);
    }
    __syncthreads();
    if (start + total > capacity) return;
    for (int e = lane(); e < found; e += 32) {
        columns[start + own + e] = foundColumns[warp()][e];
        values[start + own + e] = foundValues[warp()][e];
    }
}
