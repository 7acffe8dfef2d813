#define _GNU_SOURCE
#include "linux.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/// A text that is cut where it does not fit.
struct lines {
    char *at, *end;
};

__attribute__((format(printf, 2, 3))) static void add(struct lines *lines, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int count = vsnprintf(lines->at, (size_t)(lines->end - lines->at), format, arguments);
    va_end(arguments);
    if (count > 0) lines->at += count < lines->end - lines->at ? count : lines->end - lines->at - 1;
}

static void add_limits(struct lines *lines) {
    static const char *const names[] = {"processor time", "file size", "data", "stack", "core file", "memory in use",
                                        "processes", "open files", "locked memory", "address space", "file locks",
                                        "pending signals", "message queues", "nice", "real-time priority",
                                        "real-time time"};
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
        struct rlimit limit;
        if (getrlimit((__rlimit_resource_t)i, &limit) != 0) continue;
        add(lines, "the limit of %s=%lld of %lld\n", names[i], (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
}

static void add_scheduling(struct lines *lines) {
    add(lines, "the priority (nice)=%d\n", getpriority(PRIO_PROCESS, 0));
    add(lines, "the scheduling policy=%d\n", sched_getscheduler(0));
    add(lines, "the priority of input and output=%ld\n", syscall(SYS_ioprio_get, 1, 0));
    cpu_set_t processors;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0) return;
    add(lines, "the processors it may run on=");
    for (int first = 0; first < CPU_SETSIZE; first++) {
        if (!CPU_ISSET(first, &processors)) continue;
        int last = first;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &processors)) last++;
        add(lines, "%d-%d ", first, last);
        first = last;
    }
    add(lines, "\n");
}

static void add_timers(struct lines *lines) {
    static const char *const names[] = {"real time", "virtual time", "profiling"};
    for (int i = 0; i < 3; i++) {
        struct itimerval timer;
        if (getitimer((__itimer_which_t)i, &timer) != 0) continue;
        const int runs = timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0;
        add(lines, "the timer of %s=%s\n", names[i], runs ? "running" : "off");
    }
}

static void add_streams(struct lines *lines) {
    static const char *const names[] = {"standard input", "standard output", "standard error", "the line to the host"};
    for (int i = 0; i < 4; i++) {
        struct stat status;
        if (fstat(i, &status) != 0) add(lines, "%s=closed\n", names[i]);
        else
            add(lines, "%s=file %llu of device %llu, flags %#x and %#x\n", names[i], (unsigned long long)status.st_ino,
                (unsigned long long)status.st_dev, (unsigned)fcntl(i, F_GETFL), (unsigned)fcntl(i, F_GETFD));
    }
}

static void add_settings(struct lines *lines) {
    const mode_t mask = umask(0);
    umask(mask);
    add(lines, "the umask=%04o\n", (unsigned)mask);
    add(lines, "the personality=%#x\n", (unsigned)personality(0xffffffff));
    int signal = 0;
    if (prctl(PR_GET_PDEATHSIG, &signal) == 0) add(lines, "the signal at its parent's death=%d\n", signal);
    char name[32] = {0};
    if (prctl(PR_GET_NAME, name) == 0) add(lines, "the thread's name=%s\n", name);
    add(lines, "whether it can be dumped=%d\n", prctl(PR_GET_DUMPABLE));
    add(lines, "whether it has large pages switched off=%d\n", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    add(lines, "the slack of its timers=%d\n", prctl(PR_GET_TIMERSLACK));
    add(lines, "whether it adopts orphans=");
    int adopts = 0;
    prctl(PR_GET_CHILD_SUBREAPER, &adopts);
    add(lines, "%d\n", adopts);
    add(lines, "its secure bits=%d\n", prctl(PR_GET_SECUREBITS));
    int counter = 0;
    if (prctl(PR_GET_TSC, &counter) == 0) add(lines, "whether it may read the clock of the processor=%d\n", counter);
    stack_t stack;
    if (sigaltstack(NULL, &stack) == 0)
        add(lines, "the stack of signal handlers=%s\n", stack.ss_flags & SS_DISABLE ? "none" : "its own");
    add(lines, "its session=%d\nits process group=%d\n", (int)getsid(0), (int)getpgrp());
}

void dmsae_process_state(char *text, size_t capacity) {
    if (capacity == 0) return;
    text[0] = 0;
    struct lines lines = {text, text + capacity};
    add_limits(&lines);
    add_scheduling(&lines);
    add_timers(&lines);
    add_streams(&lines);
    add_settings(&lines);
}
