#include "Coroutine.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

asm(R"(
.text
.p2align 4
.globl emulationSwitch
.hidden emulationSwitch
.type emulationSwitch, @function
emulationSwitch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulationSwitch, .-emulationSwitch
)");

namespace emulation {

namespace {
constexpr size_t stackBytes = 64 << 10, page = 4096;
// Stacks that all begin at the same place of a page would meet in the same few lines of the cache.
constexpr size_t stagger = 5 * 64, staggers = 48;
}  // namespace

void *freshStackPointer(char *top, void (*entry)()) {
    auto aligned = reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15);
    auto slots = reinterpret_cast<void **>(aligned);
    // As after a call: the stack pointer is 8 past a multiple of 16 when `entry` begins.
    *--slots = nullptr;
    *--slots = reinterpret_cast<void *>(entry);
    for (int saved = 0; saved < 6; ++saved) *--slots = nullptr;
    return slots;
}

void Stacks::reserve() {
    void *mapped = mmap(nullptr, count * stackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
        fprintf(stderr, "emulated GPU: no memory for the stacks of a block\n");
        abort();
    }
    memory = static_cast<char *>(mapped);
    for (unsigned index = 0; index < count; ++index) mprotect(memory + index * stackBytes, page, PROT_NONE);
    giveAll();
}

char *Stacks::take() {
    if (memory == nullptr) reserve();
    return free[--available];
}

void Stacks::give(char *top) { free[available++] = top; }

void Stacks::giveAll() {
    if (memory == nullptr) return;
    for (unsigned index = 0; index < count; ++index)
        free[count - 1 - index] = memory + (index + 1) * stackBytes - index % staggers * stagger;
    available = count;
}

}  // namespace emulation
