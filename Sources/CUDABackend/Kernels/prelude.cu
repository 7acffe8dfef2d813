// What every kernel may rely on: put before each file's text. NVRTC has no headers of the host, so nothing is included.
//
// Matrices are row-major with rows of 4·d4 floats, d4 = ⌈d/4⌉; what pads a row is 0 and stays so. Blocks have whole warps.
// Where a kernel writes rows that a product in bfloat16 reads next, it may be given `factor`, rows of factorStride such numbers: it then
// writes there and not in its usual place. What pads these rows no product reads.
// No atomic operation adds floating-point numbers: sums have one order, so the same input gives the same bits.

typedef unsigned int u32;
typedef unsigned long long u64;

#define ALL 0xffffffffu

// What a selection has come to, read by the host (CUDASelection.swift).
struct Status {
    u64 found;     // candidates above the floor, those of the core among them, whether or not there was room
    u32 core;      // those of exempt latents
    u32 infinite;  // ~j of the lowest latent j whose pre-activation was infinite, 0 for none
    u32 threshold; // bits of the rank-th largest candidate that is not exempt, of ∞ where none may be kept
    u32 ties;      // how many that equal it are kept
    u32 kept;      // candidates that are kept
    u32 done;      // blocks that have finished, while ranking
    u32 remaining; // rank among those that share the bits found so far, while ranking
    u32 unused;
};

__device__ __forceinline__ int lane() { return threadIdx.x & 31; }
__device__ __forceinline__ int warp() { return threadIdx.x >> 5; }
__device__ __forceinline__ int warps() { return blockDim.x >> 5; }

// Lanes below this one.
__device__ __forceinline__ u32 below() { return (1u << lane()) - 1u; }

template <typename T> __device__ __forceinline__ T warpSum(T x) {
    for (int offset = 16; offset > 0; offset >>= 1) x += __shfl_xor_sync(ALL, x, offset);
    return x;
}

// The sum over a block, known to all its threads.
template <typename T> __device__ __forceinline__ T blockSum(T x, T *scratch) {
    x = warpSum(x);
    if (lane() == 0) scratch[warp()] = x;
    __syncthreads();
    T total = 0;
    for (int w = 0; w < warps(); w++) total += scratch[w];
    __syncthreads();
    return total;
}

__device__ __forceinline__ float4 zero4() { return make_float4(0, 0, 0, 0); }
__device__ __forceinline__ float dot4(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

// y += a·x
__device__ __forceinline__ void addScaled(float4 &y, float a, float4 x) {
    y.x = fmaf(a, x.x, y.x);
    y.y = fmaf(a, x.y, y.y);
    y.z = fmaf(a, x.z, y.z);
    y.w = fmaf(a, x.w, y.w);
}

__device__ __forceinline__ float4 scaled(float4 x, float a) { return make_float4(a * x.x, a * x.y, a * x.z, a * x.w); }

// The bits of x as a bfloat16: rounded to the nearest, of two to the even one. A NaN stays one.
__device__ __forceinline__ unsigned short bfloat16(float x) {
    u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (unsigned short)(bits >> 16 | 0x40u);
    return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

__device__ __forceinline__ ushort4 rounded4(float4 x) {
    return make_ushort4(bfloat16(x.x), bfloat16(x.y), bfloat16(x.z), bfloat16(x.w));
}

__device__ __forceinline__ float widened(unsigned short bits) { return __uint_as_float((u32)bits << 16); }
