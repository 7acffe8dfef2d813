#include "Faults.h"

#include "../Device/Block.h"

#include <csignal>
#include <cstdio>
#include <unistd.h>

namespace emulation {

namespace {
constexpr int watched[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
struct sigaction before[4];
Card *watchedCard = nullptr;
const char *watchedKernel = nullptr;

void describe(char *text, size_t size, const char *address) {
    for (const auto &[data, allocation] : watchedCard->device.all()) {
        if (address < allocation.mapping || address >= allocation.mapping + allocation.mapped) continue;
        long long offset = address - data;
        snprintf(text, size, "at byte %lld of an allocation of %zu bytes", offset, allocation.bytes);
        return;
    }
    snprintf(text, size, "at %p, which is in no allocation", static_cast<const void *>(address));
}

// Only what may be called in a handler, but for snprintf of numbers, and the list of allocations, which nobody changes
// while a kernel runs.
void report(int signal, siginfo_t *information, void *) {
    char place[160], line[512];
    if (signal == SIGILL) snprintf(place, sizeof place, "(an index past the end of an array, an address that is not aligned, or a number that overflows)");
    else describe(place, sizeof place, static_cast<const char *>(information->si_addr));
    const Thread *thread = running;
    int length = snprintf(
        line, sizeof line, "emulated GPU: kernel %s, block %u,%u,%u, thread %u: fault %s\n", watchedKernel, blockIndex.x,
        blockIndex.y, blockIndex.z, thread ? thread->rank : 0, place);
    if (write(STDERR_FILENO, line, size_t(length)) < 0) return;
    // Back to what there was; the instruction is tried again and faults for it.
    for (int index = 0; index < 4; ++index) sigaction(watched[index], &before[index], nullptr);
}
}  // namespace

FaultReport::FaultReport(Card &card, const char *kernel) {
    watchedCard = &card;
    watchedKernel = kernel;
    struct sigaction action {};
    action.sa_sigaction = report;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int index = 0; index < 4; ++index) sigaction(watched[index], &action, &before[index]);
}

FaultReport::~FaultReport() {
    for (int index = 0; index < 4; ++index) sigaction(watched[index], &before[index], nullptr);
}

}  // namespace emulation
