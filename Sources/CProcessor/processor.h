/// The x86-64 micro-architecture level of this processor, as the psABI names them, asked of `cpuid` directly:
/// `__builtin_cpu_supports("x86-64-v4")` needs a newer run-time library than the oldest system we build on.
#ifndef DMSAE_PROCESSOR_H
#define DMSAE_PROCESSOR_H

#include <cpuid.h>
#include <stdint.h>

/// 4: AVX-512 F, BW, CD, DQ, VL.  3: AVX2, FMA, BMI.  2: anything older.  A level counts only if the operating
/// system saves its registers (XCR0).
static inline int32_t dmsae_processor_level(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 2;
    const unsigned fma = 1u << 12, movbe = 1u << 22, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    const unsigned needed = fma | movbe | osxsave | avx | f16c;
    if ((c & needed) != needed) return 2;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 0x6) != 0x6) return 2;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 2;
    const unsigned bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8;
    if ((b & (bmi1 | avx2 | bmi2)) != (bmi1 | avx2 | bmi2)) return 2;
    const unsigned f = 1u << 16, dq = 1u << 17, cd = 1u << 28, bw = 1u << 30, vl = 1u << 31;
    const unsigned v4 = f | dq | cd | bw | vl;
    return (b & v4) == v4 && (low & 0xe6) == 0xe6 ? 4 : 3;
}

/// Whether it has level 2: SSE3, SSSE3, SSE4.1, SSE4.2, POPCNT, CMPXCHG16B.
static inline int32_t dmsae_processor_has_second_level(void) {
    unsigned a, b, c, d;
    const unsigned needed = 1u | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & needed) == needed;
}

#endif
