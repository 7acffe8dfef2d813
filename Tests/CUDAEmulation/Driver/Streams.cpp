// Streams, and events in them.
#include "Call.h"

#include <ctime>

using namespace emulation;

namespace {
double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return double(time.tv_sec) * 1e3 + double(time.tv_nsec) * 1e-6;
}

Event *event(Card &card, const void *handle) {
    auto found = card.events.find(handle);
    return found == card.events.end() ? nullptr : found->second.get();
}
}  // namespace

ENTRY int cuStreamCreate(void **handle, unsigned flags) {
    ENTER(outOfMemory, false);
    if (handle == nullptr || flags > 1) return invalidValue;
    auto stream = std::make_unique<Stream>();
    stream->blocking = flags == 0;
    *handle = stream.get();
    card.streams[*handle] = std::move(stream);
    return success;
}

ENTRY int cuStreamDestroy_v2(void *handle) {
    ENTER(unknown, false);
    auto found = card.streams.find(handle);
    if (found == card.streams.end()) return invalidHandle;
    Result result = card.finish(*found->second, found->second->issued);
    for (auto &[name, event] : card.events)
        if (event->stream == found->second.get()) event->stream = nullptr;
    card.streams.erase(found);
    return result;
}

ENTRY int cuStreamSynchronize(void *handle) {
    ENTER(launchFailed, true);
    Stream *stream = card.stream(handle);
    if (stream == nullptr) return invalidHandle;
    return card.finish(*stream, stream->issued);
}

ENTRY int cuStreamWaitEvent(void *handle, void *eventHandle, unsigned flags) {
    ENTER(unknown, false);
    Stream *stream = card.stream(handle);
    Event *awaited = event(card, eventHandle);
    if (stream == nullptr || awaited == nullptr) return invalidHandle;
    if (flags != 0) return invalidValue;
    // An event that was never recorded is no reason to wait; one recorded again later is another.
    if (awaited->stream == nullptr || awaited->stream == stream) return success;
    const void *other = awaited->stream == &card.nullStream ? nullptr : awaited->stream;
    uint64_t ticket = awaited->ticket;
    return card.issue(*stream, [&card, other, ticket] {
        Stream *before = card.stream(other);
        return before ? card.finish(*before, ticket) : success;
    });
}

ENTRY int cuEventCreate(void **handle, unsigned flags) {
    ENTER(outOfMemory, false);
    if (handle == nullptr || flags > 3) return invalidValue;
    auto event = std::make_unique<Event>();
    event->timed = (flags & 2) == 0;
    *handle = event.get();
    card.events[*handle] = std::move(event);
    return success;
}

ENTRY int cuEventRecord(void *eventHandle, void *handle) {
    ENTER(launchFailed, true);
    Stream *stream = card.stream(handle);
    Event *recorded = event(card, eventHandle);
    if (stream == nullptr || recorded == nullptr) return invalidHandle;
    uint64_t ticket = stream->issued + 1;
    *recorded = Event{recorded->timed, stream, ticket, true, false, 0};
    return card.issue(*stream, [&card, eventHandle, ticket] {
        Event *reached = event(card, eventHandle);
        if (reached && reached->ticket == ticket) {
            reached->done = true;
            reached->milliseconds = now();
        }
        return success;
    });
}

ENTRY int cuEventSynchronize(void *eventHandle) {
    ENTER(launchFailed, true);
    Event *awaited = event(card, eventHandle);
    if (awaited == nullptr) return invalidHandle;
    return awaited->stream ? card.finish(*awaited->stream, awaited->ticket) : card.broken;
}

ENTRY int cuEventQuery(void *eventHandle) {
    ENTER(unknown, false);
    Event *asked = event(card, eventHandle);
    if (asked == nullptr) return invalidHandle;
    // A host that asks until it is done waits; a lazy card has not done it yet when it asks first.
    if (card.settings.lazy && asked->recorded && !asked->done && asked->stream) {
        Result result = card.finish(*asked->stream, asked->ticket);
        return result == success ? notReady : result;
    }
    return asked->recorded && !asked->done ? notReady : success;
}

ENTRY int cuEventElapsedTime_v2(float *milliseconds, void *startHandle, void *endHandle) {
    ENTER(unknown, false);
    Event *start = event(card, startHandle), *end = event(card, endHandle);
    if (milliseconds == nullptr) return invalidValue;
    if (start == nullptr || end == nullptr || !start->timed || !end->timed || !start->recorded || !end->recorded)
        return invalidHandle;
    if (!start->done || !end->done) return notReady;
    *milliseconds = float(end->milliseconds - start->milliseconds);
    return success;
}

ENTRY int cuEventElapsedTime(float *milliseconds, void *startHandle, void *endHandle) {
    return cuEventElapsedTime_v2(milliseconds, startHandle, endHandle);
}

ENTRY int cuEventDestroy_v2(void *eventHandle) {
    ENTER(unknown, false);
    return card.events.erase(eventHandle) ? success : invalidHandle;
}
