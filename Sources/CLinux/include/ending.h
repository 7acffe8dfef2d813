/// How a process ends that cannot go on: what it must not leave behind, what it says, and what each signal does to it.
/// C, because all of this may run in a signal handler, where Swift may not.
#ifndef DMSAE_ENDING_H
#define DMSAE_ENDING_H

#include <stddef.h>
#include <stdint.h>

/// From now on the file `name` of the folder behind a descriptor, which stays open until then, is removed if the
/// process ends by a signal or by `dmsae_end`. A slot for `dmsae_forget_temporary`; -1 where there is no room,
/// and then it stays.
int dmsae_remember_temporary(int folder, const char *name);

/// The file of a slot has its name, or is gone.
void dmsae_forget_temporary(int slot);

/// From now on an access that fails between `start` and `start + count` is said to be the fault of the file `path`.
/// A slot for `dmsae_forget_mapping`; -1 where there is no room, and then it is a plain SIGBUS.
int dmsae_remember_mapping(const void *start, size_t count, const char *path);

/// The mapping of a slot is about to be taken away.
void dmsae_forget_mapping(int slot);

/// Writes a message to standard error, removes what is temporary, and ends the process without another word.
_Noreturn void dmsae_end(const char *message, int status);

/// What is said when an allocation that nobody can refuse in words fails (by Swift's own arrays, by a library): a whole
/// line, copied, cut after 1000 bytes.
void dmsae_set_memory_message(const char *message);

/// Gives every signal the meaning that `Interruption` documents, whatever was inherited: to be called once,
/// before there is a second thread. Standard streams that were closed become ones that fail, so that no
/// file takes their numbers.
void dmsae_settle_signals(void);

/// From now on the signals that ask to stop call `on_stop` with their number; a second one ends the process at once.
/// One that was ignored when the program started stays ignored (nohup), except SIGTERM.
void dmsae_stop_politely(void (*on_stop)(int));

/// Processors that this process may run on (sched_getaffinity); 1 where nobody can say.
int dmsae_processor_count(void);

#endif
