// Codes by latent (CSC) from codes by token: what a latent's gradients are sums over, rows ascending within a latent.
//
// Entries take places in their latent as they come, and are then brought into order by their rows, of which each is there once.

// `cursors` are 0 before and the latents' counts after.
extern "C" __global__ void scatterEntries(
    const int *rowOffsets, const int *columns, const float *values, int rows, const int *offsets, int *cursors,
    int *looseRows, float *looseValues, int *looseSources) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    for (int e = rowOffsets[row] + lane(); e < rowOffsets[row + 1]; e += 32) {
        int j = columns[e];
        int at = offsets[j] + atomicAdd(&cursors[j], 1);
        looseRows[at] = row;
        looseValues[at] = values[e];
        looseSources[at] = e;
    }
}

// [8192] words over a block's warps, a bit a row: enough for batches of 2¹⁸ / warps rows.
#define WORDS 8192

// One warp a latent. `places`, if given, has where each entry of the codes by token went; `active` its entries above 0.
extern "C" __global__ void orderEntries(
    const int *offsets, int latents, int words, const int *looseRows, const float *looseValues,
    const int *looseSources, int *entryRows, float *entryValues, int *places, int *active) {
    __shared__ u32 bits[WORDS];
    int j = blockIdx.x * warps() + warp();
    if (j >= latents) return;
    int begin = offsets[j], count = offsets[j + 1] - begin, positive = 0;
    if (count <= 32) {
        int row = lane() < count ? looseRows[begin + lane()] : 0x7fffffff, rank = 0;
        for (int i = 0; i < count; i++) rank += __shfl_sync(ALL, row, i) < row ? 1 : 0;
        if (lane() < count) {
            float value = looseValues[begin + lane()];
            entryRows[begin + rank] = row;
            entryValues[begin + rank] = value;
            if (places) places[looseSources[begin + lane()]] = begin + rank;
            positive = value > 0 ? 1 : 0;
        }
    } else {
        u32 *own = bits + warp() * words;
        for (int w = lane(); w < words; w += 32) own[w] = 0;
        __syncwarp();
        for (int e = lane(); e < count; e += 32) {
            int row = looseRows[begin + e];
            atomicOr(&own[row >> 5], 1u << (row & 31));
        }
        __syncwarp();
        // Rows below a lane's words.
        int run = (words + 31) / 32, first = min(lane() * run, words), last = min(first + run, words), rows = 0;
        for (int w = first; w < last; w++) rows += __popc(own[w]);
        int before = rows;
        for (int offset = 1; offset < 32; offset <<= 1) {
            int other = __shfl_up_sync(ALL, before, offset);
            if (lane() >= offset) before += other;
        }
        before -= rows;
        for (int first32 = 0; first32 < count; first32 += 32) {
            int e = first32 + lane(), row = e < count ? looseRows[begin + e] : 0, word = row >> 5;
            int from = __shfl_sync(ALL, before, word / run);
            if (e >= count) continue;
            int rank = from + __popc(own[word] & ((1u << (row & 31)) - 1u));
            for (int w = word / run * run; w < word; w++) rank += __popc(own[w]);
            float value = looseValues[begin + e];
            entryRows[begin + rank] = row;
            entryValues[begin + rank] = value;
            if (places) places[looseSources[begin + e]] = begin + rank;
            positive += value > 0 ? 1 : 0;
        }
        __syncwarp();
    }
    positive = warpSum(positive);
    if (lane() == 0) active[j] = positive;
}
