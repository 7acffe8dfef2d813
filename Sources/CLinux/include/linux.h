/// What Linux offers for keeping another process in its place (how this one ends is in ending.h), where the C functions
/// are variadic, macros, or hidden behind _GNU_SOURCE, and so out of Swift's sight. Without that macro here: it changes
/// the fields of structs that other C modules show Swift too.
#ifndef DMSAE_LINUX_H
#define DMSAE_LINUX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// A descriptor that becomes readable when the process ends, close-on-exec; -1 with errno.
int dmsae_pidfd_open(pid_t process);

/// An anonymous file in memory that takes seals, close-on-exec; -1 with errno.
int dmsae_memfd(const char *name);

/// Nobody changes the file any more, in any way. -1 with errno.
int dmsae_memfd_seal(int file);

/// The file stays as long as it is; a write beyond its end fails. -1 with errno.
int dmsae_memfd_keep_size(int file);

/// Whether nobody can change the file any more.
int dmsae_memfd_is_sealed(int file);

/// A folder by a descriptor for openat and its like, close-on-exec; it need not be readable. -1 with errno.
int dmsae_open_folder(const char *path);

/// The two ends of a pipe, for reading and for writing, close-on-exec. -1 with errno.
int dmsae_pipe(int ends[2]);

/// Sends a message with a descriptor (-1: none) over a socket; never raises SIGPIPE. -1 with errno.
long dmsae_send(int socket, const void *message, size_t count, int descriptor);

/// Receives a message and the descriptor that came with it (-1: none), close-on-exec. 0 at the end, -1 with errno.
long dmsae_receive(int socket, void *message, size_t count, int *descriptor);

/// No program that this process starts has more rights than it has itself. -1 with errno.
int dmsae_no_new_privileges(void);

/// Keeps this process, and all it starts from now on, in its process group, so that the group ends as a whole. -1 with
/// errno on a kernel that cannot; then only what stays there by itself does.
///
/// setsid is refused (EPERM). setpgid changes nothing and returns 0: Foundation's Process and some shells ask for a
/// group of each child without need, and would not start it otherwise.
int dmsae_stay_in_group(void);

/// How a process was when a signal ended it.
struct dmsae_ending {
    /// Bytes of its address space; 0 if no signal came, or nobody could look.
    uint64_t address_space;
    /// Whether the last of its calls that failed, in the thread of the signal, failed for want of memory.
    uint32_t was_refused_memory;
    uint32_t reserved;
};

/// Has the signals of a crash fill `ending`, which outlives the process in shared memory, before they end it as ever.
void dmsae_record_ending(struct dmsae_ending *ending);

/// Returns when the other end of a socket was closed.
void dmsae_wait_for_hangup(int socket);

/// Leaves a process behind that ends this one's group when the other end of the socket is closed: for a program that is
/// executed next and cannot be relied on to look. To be called before there is a second thread. -1 with errno.
int dmsae_end_group_at_hangup(int socket);

/// Bytes that malloc has lent out.
size_t dmsae_allocated(void);

/// A library that is to be found under a name while another is loaded.
struct dmsae_companion {
    void *handle;
    const char *name;
};

/// Loads the shared object behind the descriptor `file`, which then stays open for good, as if it lay at `path`: dladdr
/// and debuggers name that. Its symbols are its own before they are anybody else's (RTLD_DEEPBIND) unless
/// `shares_symbols`. Null with the reason in dlerror. One at a time.
///
/// `companions` [count] are the libraries to take for the names under which it asks for them.
void *dmsae_load(int file, const char *path, const struct dmsae_companion *companions, size_t count, int shares_symbols);

/// Whether the file behind a descriptor has the bytes of `text`, its ending zero included.
int dmsae_file_contains(int file, const char *text);

/// Whether another library than libc allocates memory here, as a sanitizer or a preloaded allocator does.
int dmsae_malloc_is_replaced(void);

/// A symbol that a loaded object exports and that another one in this process takes from it; null if it has all its
/// own. `owner` is then that other object's file.
const char *dmsae_taken_symbol(void *handle, const char **owner);

/// Writes how this process stands with the kernel, a line "NAME=VALUE" for each thing that it can change of itself
/// and that code of others in it would feel: limits, priority, processors, timers, streams. Cut to `capacity`, ended
/// by a zero byte.
void dmsae_process_state(char *text, size_t capacity);

#endif
