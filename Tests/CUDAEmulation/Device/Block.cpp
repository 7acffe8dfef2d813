#include "Block.h"

#include "Coroutine.h"
#include "Order.h"
#include "SharedMemory.h"

#include <cstring>
#include <vector>

namespace emulation {

Thread *running = nullptr;
uint3 blockIndex;
dim3 blockSize, gridSize;
void *dynamicShared = nullptr;

namespace {

/// Lanes of a warp that meet; kept at the lowest lane of their mask.
struct Meeting {
    unsigned mask, arrived, generation;
    const char *operation;
    Where where;
    // Two sets of values: the fastest lane is at its next exchange while the slowest still reads of this one.
    uint64_t values[2][32];
};

/// Everything of the block that runs. One at a time: who launches holds a lock.
struct Block {
    std::vector<Thread> threads;
    std::vector<unsigned> order;
    std::vector<Meeting> meetings;  // 32 a warp
    unsigned arrived, generation, votes, result;
    const char *operation;
    Where where;
    void *scheduler;  // its stack pointer
    const Launch *launch;
    Stacks stacks;
    std::string complaint;
};
Block block;

std::string text(const char *operation, Where where) {
    const char *name = strrchr(where.file, '/');
    return std::string(operation) + " (" + (name ? name + 1 : where.file) + ":" + std::to_string(where.line) + ")";
}

bool same(Where a, Where b) { return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0); }

void enterThread() {
    block.launch->body();
    running->state = State::returned;
    void *ignored;
    emulationSwitch(&ignored, block.scheduler);
}

void resume(Thread &thread) {
    if (thread.state == State::fresh) {
        thread.stack = block.stacks.take();
        thread.stackPointer = freshStackPointer(static_cast<char *>(thread.stack), enterThread);
    }
    thread.state = State::ready;
    running = &thread;
    emulationSwitch(&block.scheduler, thread.stackPointer);
    if (thread.state == State::returned) block.stacks.give(static_cast<char *>(thread.stack));
}

void prepare(const Launch &launch) {
    unsigned count = launch.block.x * launch.block.y * launch.block.z;
    block.launch = &launch;
    block.threads.resize(count);
    block.order.resize(count);
    block.meetings.resize((count + 31) / 32 * 32);
    for (unsigned rank = 0; rank < count; ++rank) {
        Thread &thread = block.threads[rank];
        thread.index = {rank % launch.block.x, rank / launch.block.x % launch.block.y, rank / launch.block.x / launch.block.y};
        thread.rank = rank;
        thread.warp = rank / 32;
        thread.lane = rank % 32;
        block.order[rank] = rank;
    }
}

std::string deadlock() {
    unsigned waiting = 0, returned = 0;
    const Thread *first = nullptr, *other = nullptr;
    for (const Thread &thread : block.threads) {
        if (thread.state == State::returned) {
            ++returned;
            continue;
        }
        ++waiting;
        if (first == nullptr) first = &thread;
        else if (other == nullptr && !same(thread.where, first->where)) other = &thread;
    }
    std::string report = std::to_string(waiting) + " of " + std::to_string(block.threads.size()) + " threads wait for ever in ";
    report += text(first->operation, first->where);
    if (other) report += " and " + text(other->operation, other->where);
    if (returned) report += ", " + std::to_string(returned) + " have returned";
    return report;
}

/// Runs one block; false if it complained.
bool runBlock(Random &random) {
    block.arrived = block.votes = 0;
    for (Meeting &meeting : block.meetings) meeting.arrived = 0;
    for (Thread &thread : block.threads) thread.state = State::fresh;
    size_t live = block.threads.size();
    while (live > 0) {
        // A new order each time around: two kinds of barrier in a row are left in two orders.
        if (random.seeded) random.shuffle(block.order);
        bool moved = false;
        for (unsigned rank : block.order) {
            Thread &thread = block.threads[rank];
            if (thread.state == State::returned) continue;
            if (thread.state == State::waiting && *thread.counter == thread.seen) continue;
            moved = true;
            resume(thread);
            if (!block.complaint.empty()) return false;
            if (thread.state == State::returned) --live;
        }
        if (!moved) {
            block.complaint = deadlock();
            return false;
        }
    }
    return true;
}

}  // namespace

std::string run(const Launch &launch) {
    gridSize = launch.grid;
    blockSize = launch.block;
    block.complaint.clear();
    block.stacks.giveAll();
    prepare(launch);
    Random random(launch.order);
    uint64_t blocks = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
    BlockOrder order(blocks, random);
    for (uint64_t step = 0; step < blocks; ++step) {
        uint64_t index = order[step];
        blockIndex = {
            unsigned(index % launch.grid.x), unsigned(index / launch.grid.x % launch.grid.y),
            unsigned(index / launch.grid.x / launch.grid.y)};
        // What a block finds in shared memory is nobody's promise: not zero, and not the block's before it.
        if (launch.sharedEnd > launch.sharedStart) memset(launch.sharedStart, 0xFF, launch.sharedEnd - launch.sharedStart);
        dynamicShared = freshDynamicShared(launch.sharedBytes);
        if (!runBlock(random)) break;
    }
    running = nullptr;
    if (block.complaint.empty()) return {};
    return "kernel " + std::string(launch.kernel) + ", block " + std::to_string(blockIndex.x) + "," +
        std::to_string(blockIndex.y) + "," + std::to_string(blockIndex.z) + ": " + block.complaint;
}

void fail(const std::string &complaint) {
    block.complaint = "thread " + std::to_string(running->rank) + " " + complaint;
    void *ignored;
    emulationSwitch(&ignored, block.scheduler);
    __builtin_unreachable();
}

void wait(const unsigned &counter, unsigned seen, const char *operation, Where where) {
    Thread &thread = *running;
    thread.state = State::waiting;
    thread.counter = &counter;
    thread.seen = seen;
    thread.operation = operation;
    thread.where = where;
    emulationSwitch(&thread.stackPointer, block.scheduler);
}

unsigned barrier(unsigned vote, const char *operation, Where where) {
    if (block.arrived == 0) {
        block.operation = operation;
        block.where = where;
    } else if (!same(block.where, where)) {
        fail("reaches " + text(operation, where) + " while others wait in " + text(block.operation, block.where));
    }
    block.votes += vote;
    if (++block.arrived == block.threads.size()) {
        block.result = block.votes;
        block.votes = block.arrived = 0;
        ++block.generation;
    } else {
        wait(block.generation, block.generation, operation, where);
    }
    return block.result;
}

const uint64_t *exchange(unsigned mask, uint64_t value, const char *operation, Where where) {
    Thread &thread = *running;
    if (!(mask >> thread.lane & 1)) fail("is not in the mask that it gives to " + text(operation, where));
    Meeting &meeting = block.meetings[thread.warp * 32 + __builtin_ctz(mask)];
    uint64_t *values = meeting.values[meeting.generation & 1];
    if (meeting.arrived == 0) {
        meeting.mask = mask;
        meeting.operation = operation;
        meeting.where = where;
        memset(values, 0xFF, sizeof meeting.values[0]);
    } else if (meeting.mask != mask || !same(meeting.where, where)) {
        fail("reaches " + text(operation, where) + " while lanes of its mask wait in " + text(meeting.operation, meeting.where));
    }
    values[thread.lane] = value;
    meeting.arrived |= 1u << thread.lane;
    if (meeting.arrived == mask) {
        meeting.arrived = 0;
        ++meeting.generation;
    } else {
        wait(meeting.generation, meeting.generation, operation, where);
    }
    return values;
}

}  // namespace emulation
