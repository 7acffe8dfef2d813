// Copies and fills. Every range lies in one allocation, or nothing is done.
#include "Call.h"

#include <cstdio>
#include <vector>

using namespace emulation;

namespace {
Result outside(const char *entry, uint64_t address, size_t bytes) {
    char text[160];
    snprintf(text, sizeof text, "%s: %zu bytes at %#llx are not in one allocation", entry, bytes, (unsigned long long)address);
    complain(text);
    return invalidValue;
}

bool onDevice(const void *address) { return reinterpret_cast<uint64_t>(address) & deviceBit; }

/// The pinned allocation in which a host address lies; `good` is false if a range leaves it.
const Allocation *pinned(Card &card, const void *address, size_t bytes, bool &good) {
    auto data = static_cast<const char *>(address);
    const Allocation *begins = card.pinned.holding(data, 1);
    good = begins == nullptr || card.pinned.holding(data, bytes);
    return begins;
}

#define STREAM(handle) \
    Stream *stream = card.stream(handle); \
    if (stream == nullptr) return invalidHandle
}  // namespace

ENTRY int cuMemcpyHtoDAsync_v2(uint64_t target, const void *source, size_t bytes, void *handle) {
    ENTER(launchFailed, true);
    STREAM(handle);
    char *to = deviceMemory(card, target, bytes);
    if (to == nullptr) return outside(__func__, target, bytes);
    bool good = true;
    if (onDevice(source)) return outside(__func__, reinterpret_cast<uint64_t>(source), bytes);
    if (pinned(card, source, bytes, good)) {
        if (!good) return outside(__func__, reinterpret_cast<uint64_t>(source), bytes);
        return card.issue(*stream, [=] { return memcpy(to, source, bytes), success; });
    }
    // Memory that is not pinned is read before the call returns.
    if (stream->pending.empty() && !card.settings.lazy) {
        return card.issue(*stream, [=] { return memcpy(to, source, bytes), success; });
    }
    std::vector<char> staged(static_cast<const char *>(source), static_cast<const char *>(source) + bytes);
    return card.issue(*stream, [=] { return memcpy(to, staged.data(), bytes), success; });
}

ENTRY int cuMemcpyDtoHAsync_v2(void *target, uint64_t source, size_t bytes, void *handle) {
    ENTER(launchFailed, true);
    STREAM(handle);
    char *from = deviceMemory(card, source, bytes);
    if (from == nullptr) return outside(__func__, source, bytes);
    if (onDevice(target)) return outside(__func__, reinterpret_cast<uint64_t>(target), bytes);
    bool good = true;
    const Allocation *deferred = pinned(card, target, bytes, good);
    if (!good) return outside(__func__, reinterpret_cast<uint64_t>(target), bytes);
    Result result = card.issue(*stream, [=] { return memcpy(target, from, bytes), success; });
    // Into memory that is not pinned it is done when the call returns.
    return deferred ? result : card.finish(*stream, stream->issued);
}

ENTRY int cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t bytes, void *handle) {
    ENTER(launchFailed, true);
    STREAM(handle);
    char *to = deviceMemory(card, target, bytes), *from = deviceMemory(card, source, bytes);
    if (to == nullptr) return outside(__func__, target, bytes);
    if (from == nullptr) return outside(__func__, source, bytes);
    if (to < from + bytes && from < to + bytes && bytes > 0) {
        complain("cuMemcpyDtoDAsync: source and target overlap");
        return invalidValue;
    }
    return card.issue(*stream, [=] { return memcpy(to, from, bytes), success; });
}

ENTRY int cuMemsetD8Async(uint64_t target, unsigned char value, size_t count, void *handle) {
    ENTER(launchFailed, true);
    STREAM(handle);
    char *to = deviceMemory(card, target, count);
    if (to == nullptr) return outside(__func__, target, count);
    return card.issue(*stream, [=] { return memset(to, value, count), success; });
}

ENTRY int cuMemsetD32Async(uint64_t target, unsigned value, size_t count, void *handle) {
    ENTER(launchFailed, true);
    STREAM(handle);
    char *to = count > SIZE_MAX / 4 ? nullptr : deviceMemory(card, target, count * 4);
    if (to == nullptr || target % 4 != 0) return outside(__func__, target, count * 4);
    return card.issue(*stream, [=] {
        for (size_t index = 0; index < count; ++index) memcpy(to + 4 * index, &value, 4);
        return success;
    });
}
