/// Stores past the caches.
#ifndef DMSAE_STREAMING_H
#define DMSAE_STREAMING_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/// `KernelTable.stream`, which says what it does.
static inline void dmsae_stream(float *target, const float *source, int64_t count) {
    int64_t i = 0;
    // A line is written whole or not at all: half of one would cost more than a plain store.
    if ((uintptr_t)target % 64 == 0) {
        for (; i + 16 <= count; i += 16) {
#if defined(__AVX512F__)
            _mm512_stream_ps(target + i, _mm512_loadu_ps(source + i));
#elif defined(__AVX__)
            _mm256_stream_ps(target + i, _mm256_loadu_ps(source + i));
            _mm256_stream_ps(target + i + 8, _mm256_loadu_ps(source + i + 8));
#else
            for (int64_t part = i; part < i + 16; part += 4) _mm_stream_ps(target + part, _mm_loadu_ps(source + part));
#endif
        }
    }
    memcpy(target + i, source + i, (size_t)(count - i) * sizeof *target);
}

#endif
