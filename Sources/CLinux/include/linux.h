/// What Linux offers for keeping a process in its place, where the C functions are variadic, macros, or hidden behind
/// _GNU_SOURCE, and so out of Swift's sight. Without that macro here: it changes the fields of structs that other C
/// modules show Swift too.
#ifndef DMSAE_LINUX_H
#define DMSAE_LINUX_H

#include <stddef.h>
#include <sys/types.h>

/// A descriptor that becomes readable when the process ends, close-on-exec; -1 with errno.
int dmsae_pidfd_open(pid_t process);

/// An anonymous file in memory that takes seals, close-on-exec; -1 with errno.
int dmsae_memfd(const char *name);

/// Nobody changes the file any more, in any way. -1 with errno.
int dmsae_memfd_seal(int file);

/// Whether nobody can change the file any more.
int dmsae_memfd_is_sealed(int file);

/// Sends a message with a descriptor (-1: none) over a socket; never raises SIGPIPE. -1 with errno.
long dmsae_send(int socket, const void *message, size_t count, int descriptor);

/// Receives a message and the descriptor that came with it (-1: none), close-on-exec. 0 at the end, -1 with errno.
long dmsae_receive(int socket, void *message, size_t count, int *descriptor);

/// No program that this process starts has more rights than it has itself. -1 with errno.
int dmsae_no_new_privileges(void);

/// Returns when the other end of a socket was closed.
void dmsae_wait_for_hangup(int socket);

/// Bytes that malloc has lent out.
size_t dmsae_allocated(void);

#endif
