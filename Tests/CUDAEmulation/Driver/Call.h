// What every entry point does first: take the card's lock, count the call, and fail if it was asked to or must.
#pragma once

#include "Card.h"

#include <cstring>

namespace emulation {

class Call {
public:
    /// `entry` with any `_v2` left out is the name that settings and counts use. `injected` is the result of a call that was
    /// asked to fail; from one of `lasting` the card does not recover.
    Call(Card *card, const char *entry, Result injected, bool lasting) : card(card) {
        if (card == nullptr) {
            result = initialized ? invalidContext : notInitialized;
            return;
        }
        guard = std::unique_lock(card->lock);
        std::string name(entry);
        if (name.size() > 3 && name.compare(name.size() - 3, 3, "_v2") == 0) name.resize(name.size() - 3);
        uint64_t count = ++card->calls[name];
        if (card->broken != success) {
            result = card->broken;
        } else if (card->settings.failAt == count && card->settings.failName == name) {
            result = injected;
            if (lasting) card->broken = injected;
        }
    }

    Card *const card;
    Result result = success;

private:
    std::unique_lock<std::recursive_mutex> guard;
};

}  // namespace emulation

/// First line of an entry point that needs a context.
#define ENTER(injected, lasting) \
    ::emulation::Call call(::emulation::currentCard(), __func__, injected, lasting); \
    if (call.result != ::emulation::success) return call.result; \
    ::emulation::Card &card = *call.card; \
    (void)card
