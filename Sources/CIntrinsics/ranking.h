/// What a selection asks of its candidates' values, where Swift's SIMD types have no bit masks of comparisons.
///
/// Inline, so that each level of `Sources/Kernels` compiles it for its own instruction set.
#ifndef DMSAE_RANKING_H
#define DMSAE_RANKING_H

#include <immintrin.h>
#include <stdint.h>

/// `KernelTable.keepAtLeast`, which says what it does.
static inline int64_t dmsae_keep_at_least(const int32_t *columns, const float *values, int64_t count, float least,
                                          int32_t *kept_columns, float *kept_values) {
    int64_t kept = 0, i = 0;
#if defined(__AVX512F__)
    const __m512 bound = _mm512_set1_ps(least);
    for (; i < count; i += 16) {
        const __mmask16 there = count - i < 16 ? (__mmask16)((1u << (count - i)) - 1) : (__mmask16)0xffff;
        const __m512 v = _mm512_maskz_loadu_ps(there, values + i);
        const __m512i c = _mm512_maskz_loadu_epi32(there, columns + i);
        const __mmask16 in = _mm512_mask_cmp_ps_mask(there, v, bound, _CMP_GE_OQ);
        // What comes next is another row's: nothing may be written behind the last.
        const int found = __builtin_popcount(in);
        const __mmask16 room = (__mmask16)((1u << found) - 1);
        _mm512_mask_storeu_epi32(kept_columns + kept, room, _mm512_maskz_compress_epi32(in, c));
        _mm512_mask_storeu_ps(kept_values + kept, room, _mm512_maskz_compress_ps(in, v));
        kept += found;
    }
#else
    for (; i < count; i++) {
        if (!(values[i] >= least)) continue;
        kept_columns[kept] = columns[i];
        kept_values[kept++] = values[i];
    }
#endif
    return kept;
}

/// `KernelTable.countAtLeast`.
static inline int64_t dmsae_count_at_least(const float *values, int64_t count, float least) {
    int64_t found = 0, i = 0;
#if defined(__AVX512F__)
    const __m512 bound = _mm512_set1_ps(least);
    for (; i < count; i += 16) {
        const __mmask16 there = count - i < 16 ? (__mmask16)((1u << (count - i)) - 1) : (__mmask16)0xffff;
        const __m512 v = _mm512_maskz_loadu_ps(there, values + i);
        found += __builtin_popcount(_mm512_mask_cmp_ps_mask(there, v, bound, _CMP_GE_OQ));
    }
#else
    for (; i < count; i++) found += values[i] >= least;
#endif
    return found;
}

/// `KernelTable.extent`.
static inline void dmsae_extent(const float *values, int64_t count, float *least, float *most) {
    float low = __builtin_inff(), high = -__builtin_inff();
    int64_t i = 0;
#if defined(__AVX512F__)
    __m512 lows = _mm512_set1_ps(low), highs = _mm512_set1_ps(high);
    for (; i + 16 <= count; i += 16) {
        const __m512 v = _mm512_loadu_ps(values + i);
        lows = _mm512_min_ps(lows, v);
        highs = _mm512_max_ps(highs, v);
    }
    low = _mm512_reduce_min_ps(lows);
    high = _mm512_reduce_max_ps(highs);
#elif defined(__SSE2__)
    __m128 lows = _mm_set1_ps(low), highs = _mm_set1_ps(high);
    for (; i + 4 <= count; i += 4) {
        const __m128 v = _mm_loadu_ps(values + i);
        lows = _mm_min_ps(lows, v);
        highs = _mm_max_ps(highs, v);
    }
    float parts[2][4];
    _mm_storeu_ps(parts[0], lows);
    _mm_storeu_ps(parts[1], highs);
    for (int lane = 0; lane < 4; lane++) {
        low = parts[0][lane] < low ? parts[0][lane] : low;
        high = parts[1][lane] > high ? parts[1][lane] : high;
    }
#endif
    for (; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    *least = low;
    *most = high;
}

/// `KernelTable.gatherWithin`.
static inline int64_t dmsae_gather_within(const float *values, int64_t count, float least, float most, float *within) {
    int64_t found = 0, i = 0;
#if defined(__AVX512F__)
    const __m512 low = _mm512_set1_ps(least), high = _mm512_set1_ps(most);
    for (; i + 16 <= count; i += 16) {
        const __m512 v = _mm512_loadu_ps(values + i);
        const __mmask16 in = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(v, low, _CMP_GE_OQ), v, high, _CMP_LE_OQ);
        if (in == 0) continue;
        const int more = __builtin_popcount(in);
        _mm512_mask_storeu_ps(within + found, (__mmask16)((1u << more) - 1), _mm512_maskz_compress_ps(in, v));
        found += more;
    }
#elif defined(__SSE2__)
    const __m128 low = _mm_set1_ps(least), high = _mm_set1_ps(most);
    for (; i + 4 <= count; i += 4) {
        const __m128 v = _mm_loadu_ps(values + i);
        uint32_t in = (uint32_t)_mm_movemask_ps(_mm_and_ps(_mm_cmpge_ps(v, low), _mm_cmple_ps(v, high)));
        for (; in != 0; in &= in - 1) within[found++] = values[i + __builtin_ctz(in)];
    }
#endif
    for (; i < count; i++) {
        if (values[i] >= least && values[i] <= most) within[found++] = values[i];
    }
    return found;
}

/// `KernelTable.countMarked`.
static inline int64_t dmsae_count_marked(const float *values, const uint8_t *marks, int64_t count, float *least) {
    float low = __builtin_inff();
    int64_t found = 0, i = 0;
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    __m512 lows = _mm512_set1_ps(low);
    for (; i + 16 <= count; i += 16) {
        const __m128i m = _mm_loadu_si128((const __m128i *)(marks + i));
        const __mmask16 in = _mm_test_epi8_mask(m, m);
        lows = _mm512_mask_min_ps(lows, in, lows, _mm512_loadu_ps(values + i));
        found += __builtin_popcount(in);
    }
    low = _mm512_reduce_min_ps(lows);
#endif
    for (; i < count; i++) {
        if (marks[i] == 0) continue;
        found++;
        low = values[i] < low ? values[i] : low;
    }
    *least = low;
    return found;
}

#endif
