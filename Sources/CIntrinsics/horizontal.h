/// A sum across a vector, as shuffles of whole vectors. Swift's SIMD types take halves element by element, and what
/// becomes of that is scalar code all the way up to the loads.
#ifndef DMSAE_HORIZONTAL_H
#define DMSAE_HORIZONTAL_H

typedef float dmsae_float16 __attribute__((ext_vector_type(16)));
typedef float dmsae_float8 __attribute__((ext_vector_type(8)));
typedef float dmsae_float4 __attribute__((ext_vector_type(4)));
typedef float dmsae_float2 __attribute__((ext_vector_type(2)));

/// The sum of the sixteen, halves first.
static inline __attribute__((always_inline)) float dmsae_horizontal_sum(dmsae_float16 v) {
    const dmsae_float8 eight = v.lo + v.hi;
    const dmsae_float4 four = eight.lo + eight.hi;
    const dmsae_float2 two = four.lo + four.hi;
    return two.x + two.y;
}

#endif
