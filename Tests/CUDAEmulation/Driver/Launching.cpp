// A launch: everything that a card would refuse is refused, and what runs is watched.
#include "Call.h"

#include "../Device/Block.h"
#include "Faults.h"

#include <cstdlib>

using namespace emulation;

namespace {

/// Blocks of all cards use the same coroutines and shared variables.
std::mutex oneKernel;

bool fits(unsigned x, unsigned y, unsigned z, unsigned mostX, unsigned mostY, unsigned mostZ) {
    return x >= 1 && y >= 1 && z >= 1 && x <= mostX && y <= mostY && z <= mostZ;
}

Result execute(Card &card, const Launch &launch) {
    std::lock_guard guard(oneKernel);
    static const bool traced = getenv("DMSAE_EMULATED_TRACE") != nullptr;
    if (traced) {
        fprintf(stderr, "emulated GPU: %s <%u,%u,%u> <%u,%u,%u>\n", launch.kernel, launch.grid.x, launch.grid.y,
            launch.grid.z, launch.block.x, launch.block.y, launch.block.z);
    }
    std::string wrong;
    {
        FaultReport report(card, launch.kernel);
        wrong = run(launch);
    }
    if (!wrong.empty()) {
        complain(wrong);
        return launchFailed;
    }
    if (const Allocation *damaged = card.device.damaged()) {
        complain("kernel " + std::string(launch.kernel) + " wrote past the end of an allocation of " +
            std::to_string(damaged->bytes) + " bytes");
        return illegalAddress;
    }
    return success;
}

}  // namespace

ENTRY int cuLaunchKernel(
    void *handle, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ,
    unsigned sharedBytes, void *streamHandle, void **arguments, void **extra) {
    ENTER(launchFailed, true);
    Stream *stream = card.stream(streamHandle);
    if (stream == nullptr || !card.functions.count(handle)) return invalidHandle;
    const Function &function = *static_cast<Function *>(handle);
    std::string name(function.kernel->name);
    if (!fits(gridX, gridY, gridZ, 2147483647, 65535, 65535) || !fits(blockX, blockY, blockZ, 1024, 1024, 64) ||
        blockX * blockY * blockZ > 1024 || sharedBytes > function.dynamicShared || extra != nullptr) {
        complain("kernel " + name + ": no card launches " + std::to_string(gridX) + "," + std::to_string(gridY) + "," +
            std::to_string(gridZ) + " blocks of " + std::to_string(blockX) + "," + std::to_string(blockY) + "," +
            std::to_string(blockZ) + " threads with " + std::to_string(sharedBytes) + " bytes");
        return invalidValue;
    }

    auto translate = [&card](const void *&address) {
        if (address == nullptr) return true;
        auto value = reinterpret_cast<uint64_t>(address);
        if (char *data = deviceMemory(card, value, 0)) {
            address = data;
            return true;
        }
        // The card reads pinned memory under the host's address.
        return card.pinned.holding(static_cast<const char *>(address), 0) != nullptr;
    };
    unsigned bad = 0;
    auto body = function.kernel->bind(arguments, translate, bad);
    if (!body) {
        complain("kernel " + name + ": argument " + std::to_string(bad) + " points to no memory of the card");
        return card.broken = illegalAddress;
    }
    Launch launch{
        function.kernel->name, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, sharedBytes, function.kernel->sharedStart,
        function.kernel->sharedEnd, card.settings.order, std::move(body)};
    return card.issue(*stream, [&card, launch] { return execute(card, launch); });
}
