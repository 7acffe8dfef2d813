// Short vectors, aligned as on the card: an access that is not traps here as there.
#pragma once

#define EMULATION_VECTOR2(name, type, alignment) \
    struct alignas(alignment) name { type x, y; }; \
    inline name make_##name(type x, type y) { return {x, y}; }
#define EMULATION_VECTOR4(name, type, alignment) \
    struct alignas(alignment) name { type x, y, z, w; }; \
    inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }

EMULATION_VECTOR2(float2, float, 8)
EMULATION_VECTOR4(float4, float, 16)
EMULATION_VECTOR2(int2, int, 8)
EMULATION_VECTOR4(int4, int, 16)
EMULATION_VECTOR2(uint2, unsigned, 8)
EMULATION_VECTOR4(uint4, unsigned, 16)
EMULATION_VECTOR2(short2, short, 4)
EMULATION_VECTOR4(short4, short, 8)
EMULATION_VECTOR2(ushort2, unsigned short, 4)
EMULATION_VECTOR4(ushort4, unsigned short, 8)
EMULATION_VECTOR2(uchar2, unsigned char, 2)
EMULATION_VECTOR4(uchar4, unsigned char, 4)
EMULATION_VECTOR2(double2, double, 16)
EMULATION_VECTOR2(longlong2, long long, 16)
EMULATION_VECTOR2(ulonglong2, unsigned long long, 16)

struct float3 {
    float x, y, z;
};
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
