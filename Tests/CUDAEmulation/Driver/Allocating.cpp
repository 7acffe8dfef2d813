// Taking and giving back memory.
#include "Call.h"

using namespace emulation;

ENTRY int cuMemGetInfo_v2(size_t *free, size_t *total) {
    ENTER(unknown, false);
    if (free == nullptr || total == nullptr) return invalidValue;
    *total = card.settings.memory;
    *free = card.settings.memory - std::min(card.settings.memory, card.device.total());
    return success;
}

ENTRY int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    ENTER(outOfMemory, false);
    if (address == nullptr || bytes == 0) return invalidValue;
    size_t used = card.device.total();
    if (used > card.settings.memory || bytes > card.settings.memory - used) return outOfMemory;
    char *data = card.device.allocate(bytes);
    if (data == nullptr) return outOfMemory;
    *address = reinterpret_cast<uint64_t>(data) | deviceBit;
    return success;
}

ENTRY int cuMemFree_v2(uint64_t address) {
    ENTER(unknown, false);
    if (address == 0) return success;
    // As on a card: what still runs may use it.
    Result result = card.finishAll();
    if (result != success) return result;
    if (!(address & deviceBit) || !card.device.release(reinterpret_cast<char *>(address & ~deviceBit))) {
        complain("cuMemFree of what is no allocation");
        return invalidValue;
    }
    return success;
}

ENTRY int cuMemHostAlloc(void **address, size_t bytes, unsigned flags) {
    ENTER(outOfMemory, false);
    if (address == nullptr || bytes == 0 || flags > 7) return invalidValue;
    *address = card.pinned.allocate(bytes);
    return *address ? success : outOfMemory;
}

ENTRY int cuMemFreeHost(void *address) {
    ENTER(unknown, false);
    Result result = card.finishAll();
    if (result != success) return result;
    if (card.pinned.release(static_cast<char *>(address))) return success;
    complain("cuMemFreeHost of what is no pinned allocation");
    return invalidValue;
}
