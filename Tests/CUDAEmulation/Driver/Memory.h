// Device and pinned memory. What is not written is not a number; what lies behind an allocation cannot be touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace emulation {

/// Set in every device address that the host sees: no such address can be read by a processor, so host code that uses
/// one faults at once. A kernel gets its pointers without it.
constexpr uint64_t deviceBit = uint64_t(1) << 56;

struct Allocation {
    char *data;
    size_t bytes;
    char *mapping;
    size_t mapped;
};

/// All allocations of one kind.
class Memory {
public:
    Memory() = default;
    Memory(const Memory &) = delete;
    ~Memory();

    /// nullptr if the system gives none.
    char *allocate(size_t bytes);
    /// False if no allocation begins there.
    bool release(const char *data);
    void releaseAll();
    /// The allocation that holds all `bytes` from `data` on; nullptr if none does. Of no bytes: also one that ends there.
    const Allocation *holding(const char *data, size_t bytes) const;
    /// An allocation after whose end somebody wrote; nullptr if none.
    const Allocation *damaged() const;
    size_t total() const { return bytesInUse; }
    const std::map<const char *, Allocation> &all() const { return allocations; }

private:
    std::map<const char *, Allocation> allocations;
    size_t bytesInUse = 0;
};

}  // namespace emulation
