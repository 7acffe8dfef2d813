// One emulated card: its settings, memory, and everything that lives in its context.
#pragma once

#include "../Device/Kernel.h"
#include "Memory.h"
#include "Results.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace emulation {

struct Settings {
    size_t memory = size_t(4) << 30;
    uint64_t order = 0;
    bool lazy = false;
    /// Seconds for which NCCL waits for another card.
    uint64_t wait = 60;
    int major = 9, minor = 0;
    /// The `failAt`-th call of `failName` from now on fails; 0: none does.
    std::string failName;
    uint64_t failAt = 0;

    /// False for a word that nobody knows.
    bool read(const std::string &words);
};

/// Work in the order in which it was given. A lazy card does it when somebody waits for it, so that a host that forgets
/// to wait finds what was there before.
struct Stream {
    bool blocking = true;
    std::deque<std::function<Result()>> pending;
    uint64_t issued = 0, done = 0;
};

struct Event {
    bool timed = true;
    Stream *stream = nullptr;  // nullptr: never recorded, or its stream is gone and all is done
    uint64_t ticket = 0;
    bool recorded = false, done = false;
    double milliseconds = 0;
};

struct Function {
    const Kernel *kernel;
    size_t dynamicShared = 48 << 10;  // most that a launch may ask for
};

struct Module {
    std::string text;
    std::vector<std::unique_ptr<Function>> functions;
};

struct Card {
    explicit Card(int ordinal, const Settings &settings) : ordinal(ordinal), settings(settings) {}

    const int ordinal;
    std::recursive_mutex lock;
    Settings settings;
    Result broken = success;  // an error that stays until the context is gone
    int retained = 0;
    std::map<std::string, uint64_t> calls;

    Memory device, pinned;
    std::map<const void *, std::unique_ptr<Stream>> streams;
    std::map<const void *, std::unique_ptr<Event>> events;
    std::map<const void *, std::unique_ptr<Module>> modules;
    std::set<const void *> functions;
    Stream nullStream;

    /// Does or queues work; an error that work ends in is the card's from then on.
    Result issue(Stream &stream, std::function<Result()> work);
    /// Does what is pending up to a ticket.
    Result finish(Stream &stream, uint64_t ticket);
    Result finishAll();
    /// The stream of a handle; nullptr if there is none.
    Stream *stream(const void *handle);
    /// Everything that lived in the context is gone.
    void reset();
};

/// Says on standard error, and to `emulatedComplaint`, what is wrong.
void complain(const std::string &text);

/// All cards; the variables DMSAE_EMULATED_… are read when somebody asks first.
std::vector<std::unique_ptr<Card>> &cards();
Card *card(int ordinal);
/// The card whose context is current on this thread.
Card *currentCard();
void setCurrentCard(Card *card);
extern bool initialized;

/// Host addresses of `bytes` bytes of device memory; nullptr if they are not all in one allocation.
char *deviceMemory(Card &card, uint64_t address, size_t bytes);

}  // namespace emulation
