// What the emulation offers beside CUDA's own entry points, for tests that look behind them.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/// Adds a card and returns its ordinal: a test that limits memory or lets calls fail takes a card of its own, so that
/// tests beside it notice nothing. `settings` is words of the form NAME=VALUE between spaces, or NULL: memory=BYTES,
/// fail=ENTRYPOINT:N, order=SEED, lazy=1, capability=MAJOR.MINOR, with the meaning of the variables DMSAE_EMULATED_….
int emulatedCardAdd(const char *settings);

/// Changes the settings of a card; those that are not named stay. A new `fail=` counts from here, and takes an earlier
/// failure back. Returns 0, or 1 for a word that nobody knows.
int emulatedCardSet(int ordinal, const char *settings);

/// How often an entry point was called with a context of this card.
unsigned long long emulatedCalls(int ordinal, const char *entryPoint);

/// What the emulation found wrong last on this thread (a barrier that not all reach, a pointer to nothing); "" if nothing.
const char *emulatedComplaint(void);

#ifdef __cplusplus
}
#endif
