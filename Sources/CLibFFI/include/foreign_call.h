/// A call of a C function whose signature is known only at run time, by libffi.
#ifndef DMSAE_FOREIGN_CALL_H
#define DMSAE_FOREIGN_CALL_H

#include <stddef.h>
#include <stdint.h>

/// Calls `function` with `count` arguments. types[i] is 'p' (pointer), 'i' (int32_t), 'l' (int64_t) or 'd' (double), and values[i]
/// points at the argument. The function returns an int32_t if `returns` is 'i', written to `result`, and nothing if it
/// is 'v'. 0, or -1 for a signature that libffi cannot call.
int dmsae_foreign_call(void *function, size_t count, const char *types, void **values, char returns, int32_t *result);

#endif
