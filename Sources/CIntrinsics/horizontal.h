/// A sum across a vector, as shuffles of whole vectors. Swift's SIMD types take halves element by element, and what
/// becomes of that is scalar code all the way up to the loads.
#ifndef DMSAE_HORIZONTAL_H
#define DMSAE_HORIZONTAL_H

typedef float dmsae_float16 __attribute__((ext_vector_type(16)));
typedef float dmsae_float8 __attribute__((ext_vector_type(8)));
typedef float dmsae_float4 __attribute__((ext_vector_type(4)));
typedef float dmsae_float2 __attribute__((ext_vector_type(2)));
typedef double dmsae_double8 __attribute__((ext_vector_type(8)));

/// The sum of the sixteen, halves first.
static inline __attribute__((always_inline)) float dmsae_horizontal_sum(dmsae_float16 v) {
    const dmsae_float8 eight = v.lo + v.hi;
    const dmsae_float4 four = eight.lo + eight.hi;
    const dmsae_float2 two = four.lo + four.hi;
    return two.x + two.y;
}

/// The sums of four vectors. Neighbours are added across the four first, so that it takes half as many shuffles an entry as
/// four sums one after the other, and the compiler keeps whole vectors up to here.
static inline __attribute__((always_inline)) dmsae_float4 dmsae_four_sums(dmsae_float16 a, dmsae_float16 b,
                                                                          dmsae_float16 c, dmsae_float16 d) {
    // Within each quarter, as the instructions have it: a0 b0 a1 b1 and a2 b2 a3 b3.
    const dmsae_float16 ab =
        __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
        __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    const dmsae_float16 cd =
        __builtin_shufflevector(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
        __builtin_shufflevector(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    const dmsae_float16 all =
        __builtin_shufflevector(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
        __builtin_shufflevector(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    const dmsae_float8 eight = all.lo + all.hi;
    return eight.lo + eight.hi;
}

/// Σ x[i]·y[i] in double precision, or Σ x[i] without y, in eight partial sums.
static inline __attribute__((always_inline)) double dmsae_sum_in_double(const float *x, const float *y, long count) {
    dmsae_double8 sums = 0;
    long i = 0;
    for (; i + 8 <= count; i += 8) {
        dmsae_float8 a, b;
        __builtin_memcpy(&a, x + i, sizeof a);
        dmsae_double8 terms = __builtin_convertvector(a, dmsae_double8);
        if (y) {
            __builtin_memcpy(&b, y + i, sizeof b);
            terms *= __builtin_convertvector(b, dmsae_double8);
        }
        sums += terms;
    }
    double rest = 0;
    for (; i < count; i++) rest += y ? (double)x[i] * (double)y[i] : (double)x[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])) + rest;
}

#endif
