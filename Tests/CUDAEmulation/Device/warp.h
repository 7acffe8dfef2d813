// What lanes of a warp tell each other. All lanes of the mask must come, from the same line: a lane that has returned
// or does not exist counts as missing, though a card may let that pass.
#pragma once

#include <cstring>
#include <type_traits>

namespace emulation {

template <typename Value>
const uint64_t *exchangeValue(unsigned mask, Value value, const char *operation, Where where) {
    static_assert(std::is_arithmetic_v<Value> && (sizeof(Value) == 4 || sizeof(Value) == 8), "a shuffle takes 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return exchange(mask, bits, operation, where);
}

template <typename Value>
Value valueOf(const uint64_t *values, unsigned lane) {
    Value value;
    memcpy(&value, values + lane, sizeof value);
    return value;
}

inline unsigned bitsOf(const uint64_t *values, unsigned mask) {
    unsigned bits = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1 && values[lane]) bits |= 1u << lane;
    return bits;
}

}  // namespace emulation

template <typename Value>
Value __shfl_sync(unsigned mask, Value value, int source, int width = 32, EMULATION_WHERE) {
    auto values = ::emulation::exchangeValue(mask, value, "__shfl_sync", where);
    unsigned lane = ::emulation::running->lane, group = lane & ~unsigned(width - 1);
    return ::emulation::valueOf<Value>(values, group | (unsigned(source) & unsigned(width - 1)));
}

template <typename Value>
Value __shfl_up_sync(unsigned mask, Value value, unsigned delta, int width = 32, EMULATION_WHERE) {
    auto values = ::emulation::exchangeValue(mask, value, "__shfl_up_sync", where);
    unsigned lane = ::emulation::running->lane, group = lane & ~unsigned(width - 1);
    return lane < group + delta ? value : ::emulation::valueOf<Value>(values, lane - delta);
}

template <typename Value>
Value __shfl_down_sync(unsigned mask, Value value, unsigned delta, int width = 32, EMULATION_WHERE) {
    auto values = ::emulation::exchangeValue(mask, value, "__shfl_down_sync", where);
    unsigned lane = ::emulation::running->lane, group = lane & ~unsigned(width - 1);
    return lane + delta >= group + unsigned(width) ? value : ::emulation::valueOf<Value>(values, lane + delta);
}

template <typename Value>
Value __shfl_xor_sync(unsigned mask, Value value, int laneMask, int width = 32, EMULATION_WHERE) {
    auto values = ::emulation::exchangeValue(mask, value, "__shfl_xor_sync", where);
    unsigned lane = ::emulation::running->lane, group = lane & ~unsigned(width - 1), other = lane ^ unsigned(laneMask);
    return other >= group + unsigned(width) ? value : ::emulation::valueOf<Value>(values, other);
}

inline void __syncwarp(unsigned mask = ~0u, EMULATION_WHERE) { ::emulation::exchange(mask, 0, "__syncwarp", where); }

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATION_WHERE) {
    return ::emulation::bitsOf(::emulation::exchange(mask, predicate != 0, "__ballot_sync", where), mask);
}
inline int __any_sync(unsigned mask, int predicate, EMULATION_WHERE) {
    return ::emulation::bitsOf(::emulation::exchange(mask, predicate != 0, "__any_sync", where), mask) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATION_WHERE) {
    return ::emulation::bitsOf(::emulation::exchange(mask, predicate != 0, "__all_sync", where), mask) == mask;
}

template <typename Value>
unsigned __match_any_sync(unsigned mask, Value value, EMULATION_WHERE) {
    auto values = ::emulation::exchangeValue(mask, value, "__match_any_sync", where);
    uint64_t own = values[::emulation::running->lane];
    unsigned same = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1 && values[lane] == own) same |= 1u << lane;
    return same;
}

// As on the card: integers only.
#define EMULATION_REDUCE(name, combine) \
    template <typename Value> \
    Value name(unsigned mask, Value value, EMULATION_WHERE) { \
        static_assert(std::is_same_v<Value, int> || std::is_same_v<Value, unsigned>, #name " takes int or unsigned"); \
        auto values = ::emulation::exchangeValue(mask, value, #name, where); \
        bool first = true; \
        Value result = 0; \
        for (unsigned lane = 0; lane < 32; ++lane) { \
            if (!(mask >> lane & 1)) continue; \
            Value other = ::emulation::valueOf<Value>(values, lane); \
            result = first ? other : combine; \
            first = false; \
        } \
        return result; \
    }
EMULATION_REDUCE(__reduce_add_sync, Value(unsigned(result) + unsigned(other)))
EMULATION_REDUCE(__reduce_min_sync, (other < result ? other : result))
EMULATION_REDUCE(__reduce_max_sync, (other > result ? other : result))
EMULATION_REDUCE(__reduce_or_sync, (result | other))
EMULATION_REDUCE(__reduce_and_sync, (result & other))
