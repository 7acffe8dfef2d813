#include "Memory.h"

#include <cstring>
#include <sys/mman.h>

namespace emulation {

namespace {
// As the card aligns its allocations. Up to so many bytes lie between an allocation and the page that faults.
constexpr size_t alignment = 256, page = 4096;

size_t roundedUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

char *end(const Allocation &allocation) { return allocation.data + allocation.bytes; }
char *fence(const Allocation &allocation) { return allocation.data + roundedUp(allocation.bytes, alignment); }
}  // namespace

Memory::~Memory() { releaseAll(); }

char *Memory::allocate(size_t bytes) {
    size_t usable = roundedUp(roundedUp(bytes, alignment), page), mapped = usable + 2 * page;
    void *address = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) return nullptr;
    char *mapping = static_cast<char *>(address);
    if (mprotect(mapping + page, usable, PROT_READ | PROT_WRITE) != 0) {
        munmap(mapping, mapped);
        return nullptr;
    }
    memset(mapping + page, 0xFF, usable);
    Allocation allocation{mapping + page + usable - roundedUp(bytes, alignment), bytes, mapping, mapped};
    allocations[allocation.data] = allocation;
    bytesInUse += bytes;
    return allocation.data;
}

bool Memory::release(const char *data) {
    auto found = allocations.find(data);
    if (found == allocations.end()) return false;
    munmap(found->second.mapping, found->second.mapped);
    bytesInUse -= found->second.bytes;
    allocations.erase(found);
    return true;
}

void Memory::releaseAll() {
    while (!allocations.empty()) release(allocations.begin()->first);
}

const Allocation *Memory::holding(const char *data, size_t bytes) const {
    auto after = allocations.upper_bound(data);
    if (after == allocations.begin()) return nullptr;
    const Allocation &allocation = std::prev(after)->second;
    size_t offset = size_t(data - allocation.data);
    return offset <= allocation.bytes && bytes <= allocation.bytes - offset ? &allocation : nullptr;
}

const Allocation *Memory::damaged() const {
    for (const auto &[data, allocation] : allocations)
        for (const char *byte = end(allocation); byte < fence(allocation); ++byte)
            if (*byte != char(0xFF)) return &allocation;
    return nullptr;
}

}  // namespace emulation
