#ifndef DMSAE_OPENBLAS_SHIM_H
#define DMSAE_OPENBLAS_SHIM_H

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/// What is used of OpenBLAS. Loaded and not linked:
/// - its constructor starts a thread for every processor and ends the process by SIGINT where it may not, so one thread
///   must be asked for before;
/// - a plugin that brings a BLAS of its own must not be given the host's in its place, so the names stay out of sight.
struct dmsae_blas {
    void (*sgemm)(int order, int a_is, int b_is, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                  int ldb, float beta, float *c, int ldc);
    void (*set_num_threads)(int);
    char *(*get_corename)(void);
    /// Working memory of one product at a time, kept by the library from the first call on; these may be absent.
    void *(*memory_alloc)(int);
    void (*memory_free)(void *);
    /// Exported by every DYNAMIC_ARCH build, absent from the others.
    void (*dynamic_init)(void);
    void (*dynamic_quit)(void);
};

// CBLAS's numbers for row-major matrices, as stored and transposed.
#define DMSAE_BLAS_ROW_MAJOR 101
#define DMSAE_BLAS_AS_STORED 111
#define DMSAE_BLAS_TRANSPOSED 112

/// Loads it, at one thread. NULL, or why not. To be called while there is one thread: it sets the environment.
static inline const char *dmsae_blas_load(struct dmsae_blas *blas) {
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so"};
    char *threads = getenv("OPENBLAS_NUM_THREADS");
    if (threads) threads = strdup(threads);
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    void *library = NULL;
    const char *reason = NULL;
    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++) {
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        // Of the first: the second is for other systems, and its absence explains nothing.
        if (!library && !reason) {
            const char *said = dlerror();
            reason = strdup(said ? said : "unknown reason");
        }
    }
    if (threads)
        setenv("OPENBLAS_NUM_THREADS", threads, 1);
    else
        unsetenv("OPENBLAS_NUM_THREADS");
    free(threads);
    if (!library) return reason ? reason : "not enough memory";
    memset(blas, 0, sizeof *blas);
    *(void **)&blas->sgemm = dlsym(library, "cblas_sgemm");
    *(void **)&blas->set_num_threads = dlsym(library, "openblas_set_num_threads");
    *(void **)&blas->get_corename = dlsym(library, "openblas_get_corename");
    *(void **)&blas->memory_alloc = dlsym(library, "blas_memory_alloc");
    *(void **)&blas->memory_free = dlsym(library, "blas_memory_free");
    *(void **)&blas->dynamic_init = dlsym(library, "gotoblas_dynamic_init");
    *(void **)&blas->dynamic_quit = dlsym(library, "gotoblas_dynamic_quit");
    if (!blas->sgemm || !blas->set_num_threads || !blas->get_corename)
        return "it is not OpenBLAS: cblas_sgemm, openblas_set_num_threads or openblas_get_corename is not in it";
    return NULL;
}

/// Makes OpenBLAS choose its kernels again, this time for `core` ("SkylakeX", "Haswell").
///
/// OpenBLAS 0.3.21 (Debian 12) falls back to SSE3 kernels on processors newer than itself, 4.7 times slower than
/// its own AVX-512 ones. Only such a fallback is overruled, and never a choice the user made by
/// OPENBLAS_CORETYPE. To be called once, before any product and any other thread: it sets the environment.
/// Returns 1 if the core was changed.
static inline int32_t dmsae_blas_choose_core(const struct dmsae_blas *blas, const char *core) {
    static const char *const fallbacks[] = {"Prescott", "Core2", "Penryn",  "Dunnington", "Nehalem", "Katmai",
                                            "Coppermine", "Northwood", "Banias", "Generic", "Unknown"};
    if (!blas->dynamic_init || !blas->dynamic_quit || getenv("OPENBLAS_CORETYPE")) return 0;
    const char *current = blas->get_corename();
    for (size_t i = 0; i < sizeof fallbacks / sizeof *fallbacks; i++) {
        if (current && strcasecmp(current, fallbacks[i]) == 0) {
            setenv("OPENBLAS_CORETYPE", core, 1);
            blas->dynamic_quit();
            blas->dynamic_init();
            return 1;
        }
    }
    return 0;
}

#endif
