/// What Linux offers for keeping a process in its place, where the C functions are variadic, or hidden behind
/// _GNU_SOURCE, and so out of Swift's sight.
#ifndef DMSAE_LINUX_H
#define DMSAE_LINUX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/// A descriptor that becomes readable when the process ends, close-on-exec; -1 with errno.
static inline int dmsae_pidfd_open(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

/// An anonymous file in memory that takes seals, close-on-exec; -1 with errno.
static inline int dmsae_memfd(const char *name) {
    return (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

/// Fixes the size, and with `future_writes` forbids new writable mappings; those that exist go on. -1 with errno.
static inline int dmsae_memfd_seal(int file, int future_writes) {
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    return fcntl(file, F_ADD_SEALS, future_writes ? seals | F_SEAL_FUTURE_WRITE : seals);
}

/// This process gets SIGKILL when the thread that started it ends. -1 with errno.
static inline int dmsae_die_with_parent(void) { return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); }

/// No program that this process starts has more rights than it has itself. -1 with errno.
static inline int dmsae_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

#endif
