#include "Card.h"

#include "../include/cuda_emulation.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace emulation {

bool initialized = false;

namespace {
thread_local Card *current = nullptr;
thread_local std::string *lastComplaint = nullptr;
std::mutex listLock;

bool number(const std::string &text, uint64_t &value) {
    char *end = nullptr;
    value = strtoull(text.c_str(), &end, 10);
    return !text.empty() && *end == 0 && text[0] != '-';
}
}  // namespace

bool Settings::read(const std::string &words) {
    std::istringstream list(words);
    std::string word;
    while (list >> word) {
        size_t equals = word.find('=');
        if (equals == std::string::npos) return false;
        std::string name = word.substr(0, equals), text = word.substr(equals + 1);
        uint64_t value = 0;
        if (name == "memory" && number(text, value)) memory = value;
        else if (name == "order" && number(text, value)) order = value;
        else if (name == "lazy" && number(text, value)) lazy = value != 0;
        else if (name == "wait" && number(text, value)) wait = value;
        else if (name == "capability" && sscanf(text.c_str(), "%d.%d", &major, &minor) == 2) continue;
        else if (name == "fail") {
            size_t colon = text.find(':');
            if (colon == std::string::npos || !number(text.substr(colon + 1), value)) return false;
            failName = text.substr(0, colon);
            failAt = value;
        } else return false;
    }
    return true;
}

Result Card::finish(Stream &stream, uint64_t ticket) {
    while (stream.done < ticket && !stream.pending.empty()) {
        auto work = std::move(stream.pending.front());
        stream.pending.pop_front();
        ++stream.done;
        Result result = broken != success ? broken : work();
        if (result != success) broken = result;
    }
    return broken;
}

Result Card::finishAll() {
    for (auto &[handle, stream] : streams) finish(*stream, stream->issued);
    return finish(nullStream, nullStream.issued);
}

Result Card::issue(Stream &stream, std::function<Result()> work) {
    // The stream without a name waits for all that may block it, and they for it.
    if (&stream == &nullStream)
        for (auto &[handle, other] : streams)
            if (other->blocking) finish(*other, other->issued);
    stream.pending.push_back(std::move(work));
    ++stream.issued;
    if (settings.lazy && &stream != &nullStream) return broken;
    return finish(stream, stream.issued);
}

Stream *Card::stream(const void *handle) {
    if (handle == nullptr) return &nullStream;
    auto found = streams.find(handle);
    return found == streams.end() ? nullptr : found->second.get();
}

void Card::reset() {
    for (auto &[handle, stream] : streams) stream->pending.clear();
    nullStream.pending.clear();
    streams.clear();
    events.clear();
    modules.clear();
    functions.clear();
    device.releaseAll();
    pinned.releaseAll();
    broken = success;
}

void complain(const std::string &text) {
    fprintf(stderr, "emulated GPU: %s\n", text.c_str());
    if (lastComplaint == nullptr) lastComplaint = new std::string;
    *lastComplaint = text;
}

std::vector<std::unique_ptr<Card>> &cards() {
    static auto *list = [] {
        auto *made = new std::vector<std::unique_ptr<Card>>;
        // Never moved while others read it.
        made->reserve(4096);
        uint64_t count = 1;
        if (const char *text = getenv("DMSAE_EMULATED_DEVICES")) number(text, count);
        Settings settings;
        for (const char *name : {"MEMORY", "ORDER", "LAZY", "CAPABILITY", "FAIL"}) {
            const char *value = getenv((std::string("DMSAE_EMULATED_") + name).c_str());
            if (value == nullptr || *value == 0) continue;
            std::string word = name;
            for (char &letter : word) letter |= 0x20;
            if (!settings.read(word + "=" + value)) {
                fprintf(stderr, "emulated GPU: DMSAE_EMULATED_%s=%s is not understood\n", name, value);
                abort();
            }
        }
        for (uint64_t ordinal = 0; ordinal < count; ++ordinal) made->push_back(std::make_unique<Card>(int(ordinal), settings));
        return made;
    }();
    return *list;
}

Card *card(int ordinal) {
    std::lock_guard guard(listLock);
    auto &list = cards();
    return ordinal >= 0 && size_t(ordinal) < list.size() ? list[ordinal].get() : nullptr;
}

Card *currentCard() { return current; }
void setCurrentCard(Card *card) { current = card; }

char *deviceMemory(Card &card, uint64_t address, size_t bytes) {
    if (!(address & deviceBit)) return nullptr;
    char *data = reinterpret_cast<char *>(address & ~deviceBit);
    return card.device.holding(data, bytes) ? data : nullptr;
}

}  // namespace emulation

using namespace emulation;

ENTRY int emulatedCardAdd(const char *words) {
    Settings settings;
    if (words && !settings.read(words)) return -1;
    std::lock_guard guard(listLock);
    auto &list = cards();
    if (list.size() == list.capacity()) return -1;
    int ordinal = int(list.size());
    list.push_back(std::make_unique<Card>(ordinal, settings));
    return ordinal;
}

ENTRY int emulatedCardSet(int ordinal, const char *words) {
    Card *changed = card(ordinal);
    if (changed == nullptr || words == nullptr) return 1;
    std::lock_guard guard(changed->lock);
    Settings settings = changed->settings;
    if (!settings.read(words)) return 1;
    if (std::string(words).find("fail=") != std::string::npos) {
        changed->broken = success;
        if (settings.failAt > 0) settings.failAt += changed->calls[settings.failName];
    }
    changed->settings = settings;
    return 0;
}

ENTRY unsigned long long emulatedCalls(int ordinal, const char *entryPoint) {
    Card *asked = card(ordinal);
    if (asked == nullptr) return 0;
    std::lock_guard guard(asked->lock);
    auto found = asked->calls.find(entryPoint);
    return found == asked->calls.end() ? 0 : found->second;
}

ENTRY const char *emulatedComplaint(void) { return lastComplaint ? lastComplaint->c_str() : ""; }
