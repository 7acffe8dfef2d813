// Functions of CUDA that C++ has not, or under other names. What a card approximates (__expf, rsqrtf, …) is correct to the
// last place or two here: a test of such a kernel needs a tolerance.
#pragma once

#include <cstring>
#include <type_traits>

namespace emulation {
template <typename To, typename From>
To sameBits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace emulation

inline unsigned __float_as_uint(float value) { return ::emulation::sameBits<unsigned>(value); }
inline int __float_as_int(float value) { return ::emulation::sameBits<int>(value); }
inline float __uint_as_float(unsigned bits) { return ::emulation::sameBits<float>(bits); }
inline float __int_as_float(int bits) { return ::emulation::sameBits<float>(bits); }
inline long long __double_as_longlong(double value) { return ::emulation::sameBits<long long>(value); }
inline double __longlong_as_double(long long bits) { return ::emulation::sameBits<double>(bits); }

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(unsigned(bits)) : 32; }
inline int __clzll(long long bits) { return bits ? __builtin_clzll((unsigned long long)bits) : 64; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline unsigned __brev(unsigned bits) { return __builtin_bitreverse32(bits); }
inline unsigned long long __brevll(unsigned long long bits) { return __builtin_bitreverse64(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return unsigned(((unsigned long long)high << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return unsigned(((unsigned long long)high << 32 | low) >> (shift & 31));
}

inline float rsqrtf(float value) { return 1 / sqrtf(value); }
inline double rsqrt(double value) { return 1 / sqrt(value); }
inline float __expf(float value) { return expf(value); }
inline float __exp10f(float value) { return powf(10, value); }
inline float exp10f(float value) { return powf(10, value); }
inline float __logf(float value) { return logf(value); }
inline float __log2f(float value) { return log2f(value); }
inline float __log10f(float value) { return log10f(value); }
inline float __powf(float base, float exponent) { return powf(base, exponent); }
inline float __sinf(float value) { return sinf(value); }
inline float __cosf(float value) { return cosf(value); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float value) { return value > 1 ? 1 : value > 0 ? value : 0; }
inline float __frcp_rn(float value) { return 1 / value; }
inline float __fsqrt_rn(float value) { return sqrtf(value); }
inline float __frsqrt_rn(float value) { return float(1 / sqrt(double(value))); }
// Never fused with what comes after: this target is compiled with -ffp-contract=off.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline int __float2int_rn(float value) { return int(rintf(value)); }
inline int __float2int_rz(float value) { return int(value); }
inline int __float2int_rd(float value) { return int(floorf(value)); }
inline unsigned __float2uint_rz(float value) { return unsigned(value); }
inline unsigned __float2uint_rn(float value) { return unsigned(rintf(value)); }
inline float __int2float_rn(int value) { return float(value); }
inline float __uint2float_rn(unsigned value) { return float(value); }
inline float __double2float_rn(double value) { return float(value); }

// CUDA has these for numbers of one type and of two; not-a-number loses, as in fminf.
template <typename A, typename B>
    requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
std::common_type_t<A, B> min(A a, B b) {
    using Value = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<Value>) return Value(fmin(Value(a), Value(b)));
    else return Value(b) < Value(a) ? Value(b) : Value(a);
}
template <typename A, typename B>
    requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
std::common_type_t<A, B> max(A a, B b) {
    using Value = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<Value>) return Value(fmax(Value(a), Value(b)));
    else return Value(a) < Value(b) ? Value(b) : Value(a);
}
