// Atomics on integers. Threads change places only where they wait, so plain code is atomic. There is none for
// floating-point numbers: such a sum would depend on the order, and does not compile here.
#pragma once

#include <concepts>
#include <type_traits>

namespace emulation {
template <typename Value>
concept AtomicInteger = std::same_as<Value, int> || std::same_as<Value, unsigned> || std::same_as<Value, unsigned long long> ||
    std::same_as<Value, unsigned long>;
}  // namespace emulation

#define EMULATION_ATOMIC(name, replacement) \
    template <::emulation::AtomicInteger Value> \
    Value name(Value *place, std::type_identity_t<Value> operand) { \
        Value old = *place; \
        *place = replacement; \
        return old; \
    }
EMULATION_ATOMIC(atomicAdd, Value(std::make_unsigned_t<Value>(old) + std::make_unsigned_t<Value>(operand)))
EMULATION_ATOMIC(atomicSub, Value(std::make_unsigned_t<Value>(old) - std::make_unsigned_t<Value>(operand)))
EMULATION_ATOMIC(atomicMax, (operand > old ? operand : old))
EMULATION_ATOMIC(atomicMin, (operand < old ? operand : old))
EMULATION_ATOMIC(atomicAnd, (old & operand))
EMULATION_ATOMIC(atomicOr, (old | operand))
EMULATION_ATOMIC(atomicXor, (old ^ operand))
EMULATION_ATOMIC(atomicExch, operand)

template <::emulation::AtomicInteger Value>
Value atomicCAS(Value *place, std::type_identity_t<Value> expected, std::type_identity_t<Value> desired) {
    Value old = *place;
    if (old == expected) *place = desired;
    return old;
}
