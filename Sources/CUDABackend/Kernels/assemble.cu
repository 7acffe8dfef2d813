// From the list of candidates to codes by token (CSR), columns ascending: those of exempt latents, those above the
// rank's threshold, and the first of those that equal it, rows first. One warp a row, segments in their order. Entries of each latent are counted on the way.

// Per row: exempt candidates, those above the threshold, those that equal it.
extern "C" __global__ void countRows(
    const uint2 *segments, int tiles, const int *columns, const float *values, int exempt, int rows,
    const Status *status, int *rowCore, int *rowAbove, int *rowEqual) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    float threshold = __uint_as_float(status->threshold);
    int core = 0, above = 0, equal = 0;
    for (int tile = 0; tile < tiles; tile++) {
        uint2 segment = segments[(size_t)row * tiles + tile];
        for (u32 e = lane(); e < segment.y; e += 32) {
            float value = values[segment.x + e];
            if (columns[segment.x + e] < exempt) {
                core++;
            } else if (value > threshold) {
                above++;
            } else if (value == threshold) {
                equal++;
            }
        }
    }
    core = warpSum(core);
    above = warpSum(above);
    equal = warpSum(equal);
    if (lane() == 0) {
        rowCore[row] = core;
        rowAbove[row] = above;
        rowEqual[row] = equal;
    }
}

// The exclusive sum over the threads of a block of 1024, and the whole one.
__device__ __forceinline__ int scanBlock(int x, int *scratch, int &whole) {
    int sum = x;
    for (int offset = 1; offset < 32; offset <<= 1) {
        int other = __shfl_up_sync(ALL, sum, offset);
        if (lane() >= offset) sum += other;
    }
    if (lane() == 31) scratch[warp()] = sum;
    __syncthreads();
    int before = 0;
    whole = 0;
    for (int w = 0; w < warps(); w++) {
        if (w < warp()) before += scratch[w];
        whole += scratch[w];
    }
    __syncthreads();
    return before + sum - x;
}

// How many equal ones each row keeps, and where its codes begin. One block. `withCore` 0 leaves the exempt ones out, and
// `allTies` 1 keeps every equal one: what a rule on the host is shown.
extern "C" __global__ void __launch_bounds__(1024) offsetRows(
    const int *rowCore, const int *rowAbove, const int *rowEqual, int rows, int withCore, int allTies,
    const Status *status, int *rowTies, int *rowOffsets) {
    __shared__ int scratch[32];
    int ties = (int)status->ties, equalBefore = 0, offset = 0;
    if (threadIdx.x == 0) rowOffsets[0] = 0;
    for (int first = 0; first < rows; first += blockDim.x) {
        int row = first + threadIdx.x, whole;
        int equal = row < rows ? rowEqual[row] : 0;
        int before = equalBefore + scanBlock(equal, scratch, whole);
        equalBefore += whole;
        int own = allTies ? equal : min(equal, max(0, ties - before));
        int kept = row < rows ? (withCore ? rowCore[row] : 0) + rowAbove[row] + own : 0;
        int at = offset + scanBlock(kept, scratch, whole);
        offset += whole;
        if (row < rows) {
            rowTies[row] = own;
            rowOffsets[row + 1] = at + kept;
        }
    }
}

extern "C" __global__ void writeRows(
    const uint2 *segments, int tiles, const int *columns, const float *values, int exempt, int rows, int withCore,
    const Status *status, const int *rowTies, const int *rowOffsets, int capacity, int *keptColumns,
    float *keptValues, int *latentCounts) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows || rowOffsets[rows] > capacity) return;
    float threshold = __uint_as_float(status->threshold);
    int ties = rowTies[row], at = rowOffsets[row];
    for (int tile = 0; tile < tiles; tile++) {
        uint2 segment = segments[(size_t)row * tiles + tile];
        for (u32 first = 0; first < segment.y; first += 32) {
            u32 e = first + lane();
            bool isThere = e < segment.y;
            int column = isThere ? columns[segment.x + e] : 0;
            float value = isThere ? values[segment.x + e] : 0;
            bool isCore = isThere && column < exempt;
            bool isEqual = isThere && !isCore && value == threshold;
            u32 equals = __ballot_sync(ALL, isEqual);
            bool isKept = isCore ? withCore != 0 : isThere && (value > threshold || (isEqual && __popc(equals & below()) < ties));
            ties -= min(ties, __popc(equals));
            u32 kept = __ballot_sync(ALL, isKept);
            if (isKept) {
                int place = at + __popc(kept & below());
                keptColumns[place] = column;
                keptValues[place] = value;
                if (latentCounts) atomicAdd(&latentCounts[column], 1);
            }
            at += __popc(kept);
        }
    }
}

// Codes from exempt candidates of the list and the candidates that a rule was shown, in rows, of which it marked some. With
// `keepAll` those that it did not mark stay as 0, since their gradient is wanted too, and `places` has where each went.
extern "C" __global__ void countMarked(
    const int *rowCore, const int *shownOffsets, const unsigned char *marks, int keepAll, int rows, int *rowKept) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    int kept = 0;
    for (int e = shownOffsets[row] + lane(); e < shownOffsets[row + 1]; e += 32) kept += keepAll || marks[e] ? 1 : 0;
    kept = warpSum(kept);
    if (lane() == 0) rowKept[row] = rowCore[row] + kept;
}

// Offsets from counts, in two launches of a block for 1024 of them: their sums, and then where each begins. The second leaves
// the counts 0, for who comes next.
extern "C" __global__ void __launch_bounds__(1024) sumCounts(const int *counts, int count, int *sums) {
    __shared__ int scratch[32];
    int i = blockIdx.x * blockDim.x + threadIdx.x, whole;
    scanBlock(i < count ? counts[i] : 0, scratch, whole);
    if (threadIdx.x == 0) sums[blockIdx.x] = whole;
}

extern "C" __global__ void __launch_bounds__(1024) offsetCounts(
    int *counts, int count, const int *sums, int *offsets) {
    __shared__ int scratch[32];
    int before = 0, whole;
    for (int block = threadIdx.x; block < blockIdx.x; block += blockDim.x) before += sums[block];
    before = blockSum(before, scratch);
    int i = blockIdx.x * blockDim.x + threadIdx.x, own = i < count ? counts[i] : 0;
    int at = before + scanBlock(own, scratch, whole);
    if (i < count) {
        offsets[i + 1] = at + own;
        counts[i] = 0;
    }
    if (i == 0) offsets[0] = 0;
}

extern "C" __global__ void writeMarked(
    const uint2 *segments, int tiles, const int *columns, const float *values, int exempt, const int *shownOffsets,
    const int *shownColumns, const float *shownValues, const unsigned char *marks, int keepAll, int rows,
    const int *rowOffsets, int *keptColumns, float *keptValues, int *places, int *latentCounts) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    int at = rowOffsets[row];
    for (int tile = 0; tile < tiles && exempt > 0; tile++) {
        uint2 segment = segments[(size_t)row * tiles + tile];
        for (u32 first = 0; first < segment.y; first += 32) {
            u32 e = first + lane();
            bool isCore = e < segment.y && columns[segment.x + e] < exempt;
            u32 core = __ballot_sync(ALL, isCore);
            if (isCore) {
                int place = at + __popc(core & below());
                keptColumns[place] = columns[segment.x + e];
                keptValues[place] = values[segment.x + e];
                atomicAdd(&latentCounts[columns[segment.x + e]], 1);
            }
            at += __popc(core);
        }
    }
    int end = shownOffsets[row + 1];
    for (int first = shownOffsets[row]; first < end; first += 32) {
        int e = first + lane();
        bool isMarked = e < end && marks[e] != 0, isKept = e < end && (keepAll || isMarked);
        u32 kept = __ballot_sync(ALL, isKept);
        if (isKept) {
            int place = at + __popc(kept & below());
            keptColumns[place] = shownColumns[e];
            keptValues[place] = isMarked ? shownValues[e] : 0;
            places[e] = place;
            atomicAdd(&latentCounts[shownColumns[e]], 1);
        }
        at += __popc(kept);
    }
}
