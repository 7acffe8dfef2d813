/// Asks for a cache line before it is needed.
#ifndef DMSAE_PREFETCH_H
#define DMSAE_PREFETCH_H

/// Starts to fetch the line of `address`; never fails, whatever the address.
static inline void dmsae_prefetch(const void *address) { __builtin_prefetch(address); }

#endif
