// Which cards there are, and their contexts.
#include "Call.h"

#include <cstdio>

using namespace emulation;

namespace {
/// An attribute of a device by CUDA's number; -1 for one that nobody here asks for.
int attribute(const Card &card, int number) {
    switch (number) {
    case 1: return 1024;                       // threads a block
    case 2: case 3: return 1024;               // block x, y
    case 4: return 64;                         // block z
    case 5: return 2147483647;                 // grid x
    case 6: case 7: return 65535;              // grid y, z
    case 8: return 48 << 10;                   // shared memory a block without asking
    case 10: return 32;                        // warp
    case 12: return 65536;                     // registers a block
    case 13: return 1000000;                   // clock, kHz
    case 16: return 4;                         // multiprocessors
    case 18: return 0;                         // integrated
    case 36: return 1000000;                   // memory clock, kHz
    case 37: return 512;                       // memory bus, bits
    case 38: return 1 << 20;                   // second-level cache
    case 39: return 2048;                      // threads a multiprocessor
    case 40: return 2;                         // copy engines
    case 41: return 1;                         // unified addresses
    case 75: return card.settings.major;
    case 76: return card.settings.minor;
    case 81: return 228 << 10;                 // shared memory a multiprocessor
    case 82: return 65536;                     // registers a multiprocessor
    case 83: return 0;                         // managed memory: not to be used
    case 97: return card.settings.major == 8 ? 163 << 10 : 227 << 10;  // shared memory a block, asked for
    case 106: return 32;                       // blocks a multiprocessor
    default: return -1;
    }
}

/// A call about a device, which needs no context.
#define ENTER_DEVICE(device, injected) \
    if (!initialized) return notInitialized; \
    Card *named = ::emulation::card(device); \
    if (named == nullptr) return invalidDevice; \
    Call call(named, __func__, injected, false); \
    if (call.result != success) return call.result; \
    Card &card = *named; \
    (void)card
}  // namespace

ENTRY int cuInit(unsigned flags) {
    if (flags != 0) return invalidValue;
    Card *first = card(0);
    if (first == nullptr) return noDevice;
    Call call(first, __func__, noDevice, false);
    if (call.result != success) return call.result;
    initialized = true;
    return success;
}

ENTRY int cuDriverGetVersion(int *version) {
    if (version == nullptr) return invalidValue;
    *version = 13000;
    return success;
}

ENTRY int cuDeviceGetCount(int *count) {
    if (!initialized) return notInitialized;
    if (count == nullptr) return invalidValue;
    *count = int(cards().size());
    return success;
}

ENTRY int cuDeviceGet(int *device, int ordinal) {
    ENTER_DEVICE(ordinal, invalidDevice);
    if (device == nullptr) return invalidValue;
    *device = ordinal;
    return success;
}

ENTRY int cuDeviceGetName(char *name, int length, int device) {
    ENTER_DEVICE(device, unknown);
    if (name == nullptr || length < 1) return invalidValue;
    snprintf(name, size_t(length), "emulated GPU");
    return success;
}

ENTRY int cuDeviceGetAttribute(int *value, int number, int device) {
    ENTER_DEVICE(device, unknown);
    if (value == nullptr || attribute(card, number) < 0) return invalidValue;
    *value = attribute(card, number);
    return success;
}

ENTRY int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    ENTER_DEVICE(device, unknown);
    if (bytes == nullptr) return invalidValue;
    *bytes = card.settings.memory;
    return success;
}

ENTRY int cuDeviceGetPCIBusId(char *text, int length, int device) {
    ENTER_DEVICE(device, unknown);
    if (text == nullptr || length < 13) return invalidValue;
    snprintf(text, length, "0000:%02x:00.0", card.ordinal & 255);
    return success;
}

ENTRY int cuDevicePrimaryCtxRetain(void **context, int device) {
    ENTER_DEVICE(device, outOfMemory);
    if (context == nullptr) return invalidValue;
    ++card.retained;
    *context = named;
    return success;
}

ENTRY int cuDevicePrimaryCtxRelease_v2(int device) {
    if (!initialized) return notInitialized;
    Card *named = card(device);
    if (named == nullptr) return invalidDevice;
    std::lock_guard guard(named->lock);
    if (named->retained == 0) return invalidContext;
    named->finishAll();
    if (--named->retained == 0) named->reset();
    return success;
}

ENTRY int cuCtxSetCurrent(void *context) {
    if (!initialized) return notInitialized;
    if (context == nullptr) {
        setCurrentCard(nullptr);
        return success;
    }
    for (auto &known : cards()) {
        if (known.get() != context) continue;
        if (known->retained == 0) return invalidContext;
        setCurrentCard(known.get());
        return success;
    }
    return invalidContext;
}
