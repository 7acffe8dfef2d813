// A grid is run block by block, and a block's threads are coroutines on the caller's thread: they change places only where
// they wait for each other, so a kernel is deterministic, and atomics and shared memory need no care.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace emulation {

/// Where in a kernel's text something was called.
struct Where {
    const char *file;
    int line;
};

enum class State : uint8_t { fresh, ready, waiting, returned };

/// One thread of the block that runs.
struct Thread {
    uint3 index;
    unsigned rank, warp, lane;
    State state;
    void *stack;              // lowest address of its stack; taken when it starts
    void *stackPointer;       // where it goes on
    const unsigned *counter;  // while waiting: goes on once this is no longer `seen`
    unsigned seen;
    const char *operation;    // what it waits in, for reports
    Where where;
};

/// What one launch runs.
struct Launch {
    const char *kernel;
    dim3 grid, block;
    size_t sharedBytes;          // dynamic
    char *sharedStart, *sharedEnd;  // static shared memory of the kernel's file
    uint64_t order;              // 0: threads and blocks in order; otherwise the seed of a permutation of both
    std::function<void()> body;  // the kernel with its arguments, called once a thread
};

/// Runs all blocks. Returns an empty text, or what was wrong.
std::string run(const Launch &launch);

/// The thread that runs.
extern Thread *running;
/// Its block.
extern uint3 blockIndex;
extern dim3 blockSize, gridSize;
/// Dynamic shared memory of the block: fenced behind its end.
extern void *dynamicShared;

/// Ends the launch with an error; does not return.
[[noreturn]] void fail(const std::string &text);

/// Lets other threads run until `counter` is no longer `seen`.
void wait(const unsigned &counter, unsigned seen, const char *operation, Where where);

/// Block-wide barrier; the sum of all threads' votes.
unsigned barrier(unsigned vote, const char *operation, Where where);

/// Waits for all lanes of the mask; their 32 values, those of other lanes poisoned. Valid until the next exchange.
const uint64_t *exchange(unsigned mask, uint64_t value, const char *operation, Where where);

}  // namespace emulation
