/// What Swift's SIMD types cannot say: a comparison as a bit mask, and a store of the elements under a mask.
///
/// Inline, so that each level of `Sources/Kernels` compiles it for its own instruction set.
#ifndef DMSAE_COMPACTION_H
#define DMSAE_COMPACTION_H

#include <immintrin.h>
#include <stdint.h>

/// `KernelTable.compactAbove`, which says what it does.
static inline int64_t dmsae_compact_above(const float *x, const float *bias, const float *thresholds, float floor,
                                          int64_t count, int32_t start, int32_t *positions, float *values) {
    int64_t found = 0, i = 0;
#if defined(__AVX512F__)
    const __m512 f = _mm512_set1_ps(floor);
    const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // Where a candidate comes is nothing to foresee, and a wrong guess costs more than what it would save: one test for 64.
    for (; i + 64 <= count; i += 64) {
        __m512 p[4];
        __mmask16 above[4];
        for (int part = 0; part < 4; part++) {
            const int64_t at = i + 16 * part;
            p[part] = _mm512_add_ps(_mm512_loadu_ps(x + at), _mm512_loadu_ps(bias + at));
            above[part] = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(p[part], f, _CMP_GT_OQ), p[part],
                                                  _mm512_loadu_ps(thresholds + at), _CMP_GT_OQ);
        }
        if ((above[0] | above[1] | above[2] | above[3]) == 0) continue;
        for (int part = 0; part < 4; part++) {
            // Compressed in a register and stored whole: found <= i, so there is room, and a compressing store is microcode
            // on some processors.
            const __m512i at = _mm512_add_epi32(steps, _mm512_set1_epi32(start + (int32_t)i + 16 * part));
            _mm512_storeu_si512(positions + found, _mm512_maskz_compress_epi32(above[part], at));
            _mm512_storeu_ps(values + found, _mm512_maskz_compress_ps(above[part], p[part]));
            found += __builtin_popcount(above[part]);
        }
    }
    for (; i + 16 <= count; i += 16) {
        const __m512 p = _mm512_add_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(bias + i));
        const __mmask16 above = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(p, f, _CMP_GT_OQ), p,
                                                        _mm512_loadu_ps(thresholds + i), _CMP_GT_OQ);
        if (above == 0) continue;
        const __m512i at = _mm512_add_epi32(steps, _mm512_set1_epi32(start + (int32_t)i));
        _mm512_storeu_si512(positions + found, _mm512_maskz_compress_epi32(above, at));
        _mm512_storeu_ps(values + found, _mm512_maskz_compress_ps(above, p));
        found += __builtin_popcount(above);
    }
#elif defined(__AVX2__)
    const __m256 f = _mm256_set1_ps(floor);
    for (; i + 16 <= count; i += 16) {
        uint32_t above = 0;
        for (int half = 0; half < 2; half++) {
            const int64_t at = i + 8 * half;
            const __m256 p = _mm256_add_ps(_mm256_loadu_ps(x + at), _mm256_loadu_ps(bias + at));
            const __m256 both = _mm256_and_ps(_mm256_cmp_ps(p, f, _CMP_GT_OQ),
                                              _mm256_cmp_ps(p, _mm256_loadu_ps(thresholds + at), _CMP_GT_OQ));
            above |= (uint32_t)_mm256_movemask_ps(both) << (8 * half);
        }
        for (; above != 0; above &= above - 1) {
            const int64_t at = i + __builtin_ctz(above);
            positions[found] = start + (int32_t)at;
            values[found++] = x[at] + bias[at];
        }
    }
#else
    const __m128 f = _mm_set1_ps(floor);
    for (; i + 4 <= count; i += 4) {
        const __m128 p = _mm_add_ps(_mm_loadu_ps(x + i), _mm_loadu_ps(bias + i));
        const __m128 both = _mm_and_ps(_mm_cmpgt_ps(p, f), _mm_cmpgt_ps(p, _mm_loadu_ps(thresholds + i)));
        for (uint32_t above = (uint32_t)_mm_movemask_ps(both); above != 0; above &= above - 1) {
            const int64_t at = i + __builtin_ctz(above);
            positions[found] = start + (int32_t)at;
            values[found++] = x[at] + bias[at];
        }
    }
#endif
    for (; i < count; i++) {
        const float p = x[i] + bias[i];
        if (p > thresholds[i] && p > floor) {
            positions[found] = start + (int32_t)i;
            values[found++] = p;
        }
    }
    return found;
}

#endif
