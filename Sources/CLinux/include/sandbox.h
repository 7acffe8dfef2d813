/// Taking from a process what it does not need: files to write, the network, other processes.
#ifndef DMSAE_SANDBOX_H
#define DMSAE_SANDBOX_H

#include <stdint.h>

/// The version of Landlock that the kernel has: 0 for none, 4 with the network, 6 with signals.
int dmsae_landlock_version(void);

/// Whether the kernel takes filters of calls.
int dmsae_has_call_filters(void);

/// From here on this process, and all it starts, opens no file for writing but /dev/null and its like, makes and
/// removes none, sees nothing of other processes in /proc, has no socket but pairs, and neither traces nor signals
/// others. Where the kernel has no Landlock, filters of calls do what they can: no writing at all, and signals to
/// itself alone. 0, or -1 with errno and `what` failed.
///
/// Threads that run already keep their files: to be called before there are any, and followed by exec.
int dmsae_enter_sandbox(const char **what);

#endif
