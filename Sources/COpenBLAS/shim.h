#ifndef DMSAE_OPENBLAS_SHIM_H
#define DMSAE_OPENBLAS_SHIM_H

#include <cblas.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Exported by every DYNAMIC_ARCH build, absent from the others: hence weak.
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

/// Makes OpenBLAS choose its kernels again, this time for `core` ("SkylakeX", "Haswell").
///
/// OpenBLAS 0.3.21 (Debian 12) falls back to SSE3 kernels on processors newer than itself, 4.7 times slower than
/// its own AVX-512 ones. Only such a fallback is overruled, and never a choice the user made by
/// OPENBLAS_CORETYPE. To be called once, before any product and any other thread: it sets the environment.
/// Returns 1 if the core was changed.
static inline int32_t dmsae_blas_choose_core(const char *core) {
    static const char *const fallbacks[] = {"Prescott", "Core2", "Penryn",  "Dunnington", "Nehalem", "Katmai",
                                            "Coppermine", "Northwood", "Banias", "Generic", "Unknown"};
    if (!gotoblas_dynamic_init || !gotoblas_dynamic_quit || getenv("OPENBLAS_CORETYPE")) return 0;
    const char *current = openblas_get_corename();
    for (size_t i = 0; i < sizeof fallbacks / sizeof *fallbacks; i++) {
        if (current && strcasecmp(current, fallbacks[i]) == 0) {
            setenv("OPENBLAS_CORETYPE", core, 1);
            gotoblas_dynamic_quit();
            gotoblas_dynamic_init();
            return 1;
        }
    }
    return 0;
}

#endif
