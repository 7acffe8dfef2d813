// Changing from one stack to another without a system call: the registers that a callee must keep, and the stack pointer.
#pragma once

extern "C" void emulationSwitch(void **from, void *to);

namespace emulation {

/// A stack pointer at which `emulationSwitch` enters `entry`, for a stack whose highest address is `top`.
void *freshStackPointer(char *top, void (*entry)());

/// Stacks of one size, fenced below, each used by one coroutine at a time. A thread that ends gives its stack to the next
/// one, so a kernel without barriers runs on a single stack.
class Stacks {
public:
    static constexpr unsigned count = 1024;
    /// Highest address of a free stack.
    char *take();
    void give(char *top);
    void giveAll();

private:
    void reserve();
    char *memory = nullptr;
    char *free[count];
    unsigned available = 0;
};

}  // namespace emulation
