#define _GNU_SOURCE
#include "ending.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Tables that a handler reads without a lock: a slot is taken and given back by one atomic exchange. What it pointed to
// is freed at once; a handler that reads it in that moment is in a process that ends anyway.
struct mapping {
    uintptr_t start;
    size_t count;
    char path[];
};

struct temporary {
    int folder;
    char name[];
};

enum { mapping_slots = 8192, temporary_slots = 256 };
static _Atomic(struct mapping *) mappings[mapping_slots];
static _Atomic(struct temporary *) temporaries[temporary_slots];

int dmsae_remember_temporary(int folder, const char *name) {
    const size_t length = strlen(name) + 1;
    struct temporary *temporary = malloc(sizeof *temporary + length);
    if (!temporary) return -1;
    temporary->folder = folder;
    memcpy(temporary->name, name, length);
    for (int slot = 0; slot < temporary_slots; slot++) {
        struct temporary *none = NULL;
        if (atomic_compare_exchange_strong(&temporaries[slot], &none, temporary)) return slot;
    }
    free(temporary);
    return -1;
}

void dmsae_forget_temporary(int slot) {
    if (slot >= 0) free(atomic_exchange(&temporaries[slot], NULL));
}

int dmsae_remember_mapping(const void *start, size_t count, const char *path) {
    const size_t length = strlen(path) + 1;
    struct mapping *mapping = malloc(sizeof *mapping + length);
    if (!mapping) return -1;
    mapping->start = (uintptr_t)start;
    mapping->count = count;
    memcpy(mapping->path, path, length);
    for (int slot = 0; slot < mapping_slots; slot++) {
        struct mapping *none = NULL;
        if (atomic_compare_exchange_strong(&mappings[slot], &none, mapping)) return slot;
    }
    free(mapping);
    return -1;
}

void dmsae_forget_mapping(int slot) {
    if (slot >= 0) free(atomic_exchange(&mappings[slot], NULL));
}

static void remove_temporaries(void) {
    for (int slot = 0; slot < temporary_slots; slot++) {
        const struct temporary *temporary = atomic_load(&temporaries[slot]);
        if (temporary) unlinkat(temporary->folder, temporary->name, 0);
    }
}

// Everything below may run in a handler.

static void say(const char *text) {
    size_t left = strlen(text);
    while (left > 0) {
        const ssize_t written = write(STDERR_FILENO, text, left);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text += written;
        left -= (size_t)written;
    }
}

// A path as it may stand in a message: no control character of it reaches the terminal.
static void say_path(const char *path) {
    char text[256];
    size_t used = 0;
    for (; *path; path++) {
        if (used == sizeof text - 1) {
            text[used] = 0;
            say(text);
            used = 0;
        }
        const unsigned char c = (unsigned char)*path;
        text[used++] = c < 0x20 || c == 0x7f ? '?' : *path;
    }
    text[used] = 0;
    say(text);
}

static void say_number(uint64_t number) {
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    say(digits + at);
}

// Where a progress bar may be.
static void clear_line(void) {
    if (isatty(STDERR_FILENO)) say("\r\033[K");
}

_Noreturn void dmsae_end(const char *message, int status) {
    clear_line();
    say(message);
    remove_temporaries();
    _exit(status);
}

static void end_at_once(int signal) {
    remove_temporaries();
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(signal, &standard, NULL);
    // Waits until this returns.
    raise(signal);
}

// The action that the Swift runtime or nobody had for the signals of a crash: what is not ours to explain goes there.
static struct sigaction former[NSIG];

// Whether another process sent it: there is no fault to look at, and the Swift runtime would report one and go on.
static int is_sent(const siginfo_t *info) { return info->si_code <= 0 && info->si_pid != getpid(); }

static void leave_to_former(int signal) {
    // Its action gets the signal when the faulting instruction runs again, or from here.
    sigaction(signal, &former[signal], NULL);
    remove_temporaries();
}

static void on_bus_error(int signal, siginfo_t *info, void *context) {
    (void)context;
    if (is_sent(info)) {
        end_at_once(signal);
        return;
    }
    const uintptr_t at = (uintptr_t)info->si_addr;
    for (int slot = 0; slot < mapping_slots; slot++) {
        const struct mapping *mapping = atomic_load(&mappings[slot]);
        if (!mapping || at < mapping->start || at - mapping->start >= mapping->count) continue;
        struct stat now;
        clear_line();
        say("Error: ");
        say_path(mapping->path);
        if (stat(mapping->path, &now) == 0 && now.st_size >= 0 && (size_t)now.st_size < mapping->count) {
            say(" was cut from ");
            say_number(mapping->count);
            say(" to ");
            say_number((uint64_t)now.st_size);
            say(" bytes while it was being read; ");
        } else {
            say(" could not be read any more: it was cut short, or its disk failed; ");
        }
        say("put the whole file back and run the command again\n");
        remove_temporaries();
        _exit(1);
    }
    leave_to_former(signal);
}

static char memory_message[1024] = "Error: there is not enough memory for this\n";

void dmsae_set_memory_message(const char *message) {
    strncpy(memory_message, message, sizeof memory_message - 2);
    memory_message[sizeof memory_message - 2] = 0;
    const size_t length = strlen(memory_message);
    if (length > 0 && memory_message[length - 1] != '\n') strcpy(memory_message + length, "\n");
}

// What allocates without being able to refuse (Swift's arrays, C++) ends itself in the moment malloc has failed.
static void on_trap(int signal, siginfo_t *info, void *context) {
    (void)context;
    if (is_sent(info)) {
        end_at_once(signal);
        return;
    }
    if (errno == ENOMEM) dmsae_end(memory_message, 1);
    leave_to_former(signal);
    // Those of abort, kill and a breakpoint do not come again by themselves.
    if (signal == SIGABRT || signal == SIGTRAP || info->si_code <= 0) raise(signal);
}

// Asks to stop; SIGXCPU comes every second once the limit is reached, and only repeats itself.
static const int stops[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU};
static const size_t stop_count = sizeof stops / sizeof stops[0];
static void (*stop_callback)(int);
static atomic_int stop_seen;

static void ask_to_stop(int signal) {
    const int reason = errno;
    const int before = atomic_exchange(&stop_seen, 1);
    if (before && signal != SIGXCPU) {
        end_at_once(signal);
        return;
    }
    if (!before) stop_callback(signal);
    errno = reason;
}

static int is_inherited_ignored(int signal) {
    struct sigaction action;
    return signal != SIGTERM && sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static void handle(int signal, void (*handler)(int)) {
    // Without a restart a write of the C library would be cut short.
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    sigaction(signal, &action, NULL);
}

// A profiler that was loaded with the program has its handler for SIGPROF already, and keeps it.
static void end_at_once_by_default(int signal) {
    struct sigaction action;
    if (sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_DFL) handle(signal, end_at_once);
}

void dmsae_settle_signals(void) {
    for (int stream = 0; stream <= 2; stream++) {
        // Open for the wrong direction: using it fails as a closed one does.
        if (fcntl(stream, F_GETFD) < 0) open("/dev/null", stream == 0 ? O_WRONLY : O_RDONLY);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct sigaction ignored = {.sa_handler = SIG_IGN}, standard = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, &ignored, NULL);
    sigaction(SIGXFSZ, &ignored, NULL);
    sigaction(SIGCHLD, &standard, NULL);
    if (!is_inherited_ignored(SIGQUIT)) handle(SIGQUIT, end_at_once);
    for (size_t i = 0; i < stop_count; i++) {
        if (!is_inherited_ignored(stops[i])) handle(stops[i], end_at_once);
    }
    // What else would end the program, with its temporary files left behind.
    const int others[] = {SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) end_at_once_by_default(others[i]);
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; signal++) end_at_once_by_default(signal);
    const int traps[] = {SIGABRT, SIGILL, SIGTRAP, SIGSEGV, SIGFPE};
    for (size_t i = 0; i < sizeof traps / sizeof traps[0]; i++) {
        struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigaction(traps[i], &action, &former[traps[i]]);
    }
    struct sigaction bus = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGBUS, &bus, &former[SIGBUS]);
}

void dmsae_stop_politely(void (*on_stop)(int)) {
    stop_callback = on_stop;
    for (size_t i = 0; i < stop_count; i++) {
        if (!is_inherited_ignored(stops[i])) handle(stops[i], ask_to_stop);
    }
}

int dmsae_processor_count(void) {
    // A mask of 1024 is refused on larger machines.
    for (int most = 1024; most <= 1 << 18; most *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)most);
        if (!set) return 1;
        const size_t size = CPU_ALLOC_SIZE((size_t)most);
        const int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        const int reason = errno;
        CPU_FREE(set);
        if (count > 0) return count;
        if (reason != EINVAL) return 1;
    }
    return 1;
}
