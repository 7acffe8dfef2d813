#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

// Swift's runtime and the parsers need this much; with less the program ends in a fault before it can say why.
static const rlim_t least = 1 << 20, usual = 8 << 20;

// Raises a small limit on the stack (ulimit -s) as far as it goes, before there is a thread and before anything of
// Swift runs: the first thread's stack grows to whatever the limit is when it grows.
__attribute__((constructor)) static void require_stack(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= usual) return;
    const rlim_t given = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max < usual ? limit.rlim_max : usual;
    if (setrlimit(RLIMIT_STACK, &limit) != 0) limit.rlim_cur = given;
    if (limit.rlim_cur < least) {
        static const char message[] =
            "Error: the limit on the stack (ulimit -s) leaves less than 1024 KiB; raise it, 8192 is usual\n";
        if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(1);
        _exit(1);
    }
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return;
    // Threads get what the limit was when the program started.
    pthread_attr_setstacksize(&attributes, limit.rlim_cur);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
}
