#define _GNU_SOURCE
#include "linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

int dmsae_pidfd_open(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

int dmsae_memfd(const char *name) {
    return (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

int dmsae_memfd_seal(int file) {
    // A process that another thread is just starting has our mappings, those that are gone here too, until it executes
    // its program: that is soon over.
    for (int tries = 0;; tries++) {
        int result = fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        if (result == 0 || errno != EBUSY || tries == 500) return result;
        usleep(1000);
    }
}

int dmsae_memfd_keep_size(int file) { return fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW); }

int dmsae_memfd_is_sealed(int file) {
    const int wanted = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW, seals = fcntl(file, F_GET_SEALS);
    return seals >= 0 && (seals & wanted) == wanted;
}

int dmsae_open_folder(const char *path) { return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); }

int dmsae_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

long dmsae_send(int socket, const void *message, size_t count, int descriptor) {
    struct iovec part = {(void *)message, count};
    union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr envelope = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        memset(&control, 0, sizeof control);
        envelope.msg_control = control.bytes;
        envelope.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&envelope);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    return (long)sendmsg(socket, &envelope, MSG_NOSIGNAL);
}

long dmsae_receive(int socket, void *message, size_t count, int *descriptor) {
    struct iovec part = {message, count};
    union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr envelope = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    *descriptor = -1;
    const long got = (long)recvmsg(socket, &envelope, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got < 0 ? 0 : CMSG_FIRSTHDR(&envelope);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
    return got;
}

int dmsae_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

static struct dmsae_ending *recorded_ending;
static uint64_t page_size;

// Calls only what a signal handler may.
static void record_ending(int signal) {
    const int reason = errno;
    char text[32] = {0};
    const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file >= 0 && read(file, text, sizeof text - 1) > 0) {
        uint64_t pages = 0;
        for (const char *c = text; *c >= '0' && *c <= '9'; c++) pages = 10 * pages + (uint64_t)(*c - '0');
        recorded_ending->was_refused_memory = reason == ENOMEM;
        recorded_ending->address_space = pages * page_size;
    }
    // Its action is the default again; it waits until this returns.
    raise(signal);
}

void dmsae_record_ending(struct dmsae_ending *ending) {
    recorded_ending = ending;
    page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    // Without a stack of its own: after an overflow the handler has no room, and the signal ends the process at once.
    const struct sigaction action = {.sa_handler = record_ending, .sa_flags = SA_RESETHAND};
    const int signals[] = {SIGSEGV, SIGABRT, SIGILL, SIGTRAP, SIGBUS, SIGFPE};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) sigaction(signals[i], &action, NULL);
}

void dmsae_wait_for_hangup(int socket) {
    struct pollfd line = {socket, POLLRDHUP, 0};
    while (poll(&line, 1, -1) < 0 && errno == EINTR) {}
}

int dmsae_end_group_at_hangup(int socket) {
    const pid_t between = fork();
    if (between < 0) return -1;
    if (between == 0) {
        // A grandchild, which is nobody's to wait for.
        if (fork() != 0) _exit(0);
        for (int i = 0; i < 1024; i++)
            if (i != socket) close(i);
        dmsae_wait_for_hangup(socket);
        kill(0, SIGKILL);
        _exit(0);
    }
    while (waitpid(between, NULL, 0) < 0 && errno == EINTR) {}
    return 0;
}

size_t dmsae_allocated(void) {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
