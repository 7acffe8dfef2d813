/// Filters of system calls, for the files beside this one.
#ifndef DMSAE_CALL_FILTER_H
#define DMSAE_CALL_FILTER_H

/// Refuses, in this process and all it starts, the calls that reach other processes, the network and the machine; with
/// `files` also those that write files, with `signals` signals to others. 0, or -1 with errno.
int dmsae_refuse_calls(int files, int signals);

#endif
