/* types.h: what versions promise, how things grow, status codes, the call header, threads. */
#ifndef DMSAE_TYPES_H
#define DMSAE_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "version.h"

/* Targets: 64-bit, little-endian, the platform's one C calling convention. C99, and C11, C++11, C++20 and Swift. */
#if UINTPTR_MAX != 0xFFFFFFFFFFFFFFFF
#error "the dmsae plugin ABI is for 64-bit targets"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the dmsae plugin ABI is for little-endian targets"
#endif

/* ---- Notation of these headers ------------------------------------------------------------------------------------
 *
 * Pointers: one without DMSAE_NULLABLE is never null. Every pointer is borrowed: memory stays with who made it,
 * nothing allocated on one side is freed on the other.
 *
 * Every function carries two tags.
 *   [control]     The host makes no other call about the same instance at the same time.
 *   [worker]      As [control], unless the plugin declares DMSAE_PLUGIN_REENTRANT: then from many threads at once.
 *   [any]         From any thread at any time.
 *   [calling]     A host service: from within a call of the host about this instance, on the thread of that call, one
 *                 at a time. The host makes no other call about the instance meanwhile: depth is 1. Since 0.1.
 *   [no instance] Before create, or with none; any number of times.
 *   [created]     Between a create that returned DMSAE_OK and destroy.
 * No function is tied to a thread: consecutive calls may come on different ones, so a plugin keeps nothing in
 * thread-local variables from one call to the next. Different instances may be called at the same time.
 *
 * Rules have an id, as DMSAE-SCORER-03, that messages and tests cite; a rule's number is never given to another.
 */
#if defined(__clang__)
#define DMSAE_NULLABLE _Nullable
#define DMSAE_NONNULL _Nonnull /* only where `assume_nonnull` does not reach */
#define DMSAE_OPEN __attribute__((enum_extensibility(open)))
#define DMSAE_NULLABILITY_BEGIN                                                                                        \
    _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wnullability-extension\"")                   \
        _Pragma("clang assume_nonnull begin")
#define DMSAE_NULLABILITY_END _Pragma("clang assume_nonnull end") _Pragma("clang diagnostic pop")
#else
#define DMSAE_NULLABLE
#define DMSAE_NONNULL
#define DMSAE_OPEN
#define DMSAE_NULLABILITY_BEGIN
#define DMSAE_NULLABILITY_END
#endif

#if defined(__cplusplus)
#define DMSAE_BEGIN extern "C" { DMSAE_NULLABILITY_BEGIN
#define DMSAE_END DMSAE_NULLABILITY_END }
#else
#define DMSAE_BEGIN DMSAE_NULLABILITY_BEGIN
#define DMSAE_END DMSAE_NULLABILITY_END
#endif

/* An open enumeration of 32 bits. A reader may meet values that its header does not have.
 *
 * Rationale: a plain C enum has no fixed width, and a compiler may assume that it holds only the values it lists.
 * C++ and clang can fix both, and Swift then sees an enum; elsewhere the name is an int32_t and the layout the same.
 */
#if defined(__cplusplus)
#define DMSAE_ENUM(name) enum DMSAE_OPEN name : int32_t
#elif defined(__clang__)
#define DMSAE_ENUM(name)                                                                                               \
    __extension__ enum DMSAE_OPEN name : int32_t;                                                                      \
    typedef enum name name;                                                                                            \
    __extension__ enum DMSAE_OPEN name : int32_t
#else
#define DMSAE_ENUM(name)                                                                                               \
    typedef int32_t name;                                                                                              \
    enum
#endif

#if defined(_WIN32)
#define DMSAE_EXPORT __declspec(dllexport)
#else
#define DMSAE_EXPORT __attribute__((visibility("default")))
#endif

DMSAE_BEGIN

/* ---- Versions -----------------------------------------------------------------------------------------------------
 *
 * DMSAE-VERSION-01  A host loads a plugin whose abi_major is its own and whose abi_minor_min is at most its own minor.
 *                   It asks nothing else: never what the newest version is that the plugin knows.
 * DMSAE-VERSION-02  A minor version only adds, by the growth rules below. A change that they do not allow is a new
 *                   major version. This holds within major 0 too; 1.0 may differ from 0.x.
 * DMSAE-VERSION-03  A plugin demands the lowest minor it can work with, which is 0 unless its author defines
 *                   DMSAE_ABI_MINOR_REQUIRED before including the header. Newer surface that it can do without it
 *                   finds at run time, by DMSAE_HAS and by get_extension.
 *
 * Rationale: an exact match within major 0 was considered. It would orphan every plugin at each minor version, and the
 * rule that 1.0 freezes would never have been in use before. If the default were "the header's own version", every
 * plugin built with a new header would needlessly refuse to work on an older host.
 */
#ifndef DMSAE_ABI_MINOR_REQUIRED
#define DMSAE_ABI_MINOR_REQUIRED 0u
#endif

/* ---- Growth -------------------------------------------------------------------------------------------------------
 *
 * DMSAE-GROWTH-01  A table of functions behind a string id is frozen. A change is a new id: "dmsae.NAME/2". Its
 *                  struct_size is a check of equality, not a means to grow. Ids of others: "reverse.domain.NAME/REV".
 * DMSAE-GROWTH-02  Every other struct that begins with struct_size (dmsae_entry: with magic and struct_size) grows at
 *                  its end only. Who makes it writes sizeof. Who reads it accepts any size from the one in version
 *                  0.0 up (DMSAE_..._SIZE_V0), takes what is missing as zero, and reads and writes nothing past it.
 * DMSAE-GROWTH-03  Elements of arrays and views (dmsae_parameter, dmsae_tensor, dmsae_csr, dmsae_device, dmsae_dtype)
 *                  are frozen with their size; their `reserved` is zero and ignored until a version says otherwise.
 * DMSAE-GROWTH-04  A struct that may grow is never inside another one, only pointed at.
 * DMSAE-GROWTH-05  There is no hidden padding: gaps are `reserved` fields, zero when written and ignored when read.
 * DMSAE-GROWTH-06  Values of enumerations are numbered, never reused, and only added. A callee that meets a value it
 *                  does not know and whose meaning it needs returns DMSAE_ERR_UNSUPPORTED.
 * DMSAE-GROWTH-07  In a 64-bit `flags`, an unknown bit among the lower 32 is ignored; an unknown bit among the upper 32
 *                  changes the meaning of something, so who meets it refuses: DMSAE_ERR_UNSUPPORTED.
 */
#define DMSAE_HAS(pointer, type, field) \
    ((pointer)->struct_size >= offsetof(type, field) + sizeof((pointer)->field))
#define DMSAE_MUST_UNDERSTAND(flags) ((flags) >> 32)

/* ---- Status -------------------------------------------------------------------------------------------------------
 *
 * Zero is success, negative is an error, positive is a notice: the call stopped for a reason that is not a fault.
 *
 * DMSAE-STATUS-01  After anything but DMSAE_OK the outputs are undefined. The instance is as it was before the call,
 *                  except after DMSAE_ERR_INSTANCE_LOST: then destroy is the only call that may follow.
 * DMSAE-STATUS-02  Nothing else crosses the line: no C++ exception, no longjmp, no panic, no Swift error.
 */
DMSAE_ENUM(dmsae_status) {
    DMSAE_OK = 0,
    DMSAE_CANCELLED = 1,             /* the plugin stopped because dmsae.cancel/1 asked it to */
    DMSAE_BUDGET_EXHAUSTED = 2,      /* a host service has no budget left for what was asked; since 0.1 */
    DMSAE_ERR_FAILED = -1,           /* any other failure; say which in the error text */
    DMSAE_ERR_INVALID_ARGUMENT = -2, /* a value out of its range; name it */
    DMSAE_ERR_UNKNOWN_PARAMETER = -3, /* a key that create does not know; name it */
    DMSAE_ERR_UNSUPPORTED = -4,      /* an enumeration value, a must-understand flag or a missing host service */
    DMSAE_ERR_OUT_OF_MEMORY = -5,
    DMSAE_ERR_INSTANCE_LOST = -6     /* the instance can only be destroyed */
};

/* ---- The call header ----------------------------------------------------------------------------------------------
 *
 * Passed to every function that can fail. Made by the host for one call, valid until it returns.
 *
 * DMSAE-CALL-01  On an error the callee writes what failed, and on which value, into `error`: UTF-8, ended by a zero
 *                byte, cut to fit. The host shows it to the user. An empty text is legal and unkind.
 * DMSAE-CALL-02  A callee leaves as found: rounding and denormal modes, signal handlers and mask, locale, working
 *                folder, environment, standard streams. (The host restores the floating-point environment itself:
 *                a library built by -ffast-math may change it merely by being loaded.)
 */
typedef struct dmsae_call {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t flags;                /* none yet; DMSAE-GROWTH-07 */
    char *DMSAE_NULLABLE error;    /* [error_capacity] the host's, first byte 0; null if error_capacity is 0 */
    uint64_t error_capacity;       /* bytes, the ending zero byte included */
    void *DMSAE_NULLABLE stream;   /* since 0.3: the current stream of the device that the call's tensors lie on, as its API
                                      knows it; null on the CPU, which is all there is in this version */
} dmsae_call;
#define DMSAE_CALL_SIZE_V0 32u

/* ---- State --------------------------------------------------------------------------------------------------------
 *
 * What a plugin gathers over many calls is a block of bytes that the host owns, of a size that the plugin names.
 * Since 0.1.
 *
 * DMSAE-STATE-01  A state begins at a multiple of 64 bytes and is all zero before the first call that gets it.
 * DMSAE-STATE-02  It holds no pointer and nothing that depends on where it lies: between calls the host copies it,
 *                 writes it to a file, moves it to another process, goes on from a copy.
 * DMSAE-STATE-03  One state is in one call at a time. Two states of one instance may be, on different threads, if the
 *                 plugin declares DMSAE_PLUGIN_REENTRANT.
 * DMSAE-STATE-04  After anything but DMSAE_OK a state that the call could write is undefined; the host goes back to a
 *                 copy or gives up.
 * DMSAE-STATE-05  A stored state is only handed to the same plugin id, state version, parameters and plan that wrote it.
 *                 A plugin that changes the layout, or what the numbers in it mean, changes its state version. Where
 *                 another build of the plugin wrote it, the host warns, unless the plugin says more (dmsae.state/1).
 *                 Hosts before 0.3 refuse states of another build.
 *
 * Rationale: save and load through streams were considered, as plugin ABIs for audio have them. Then every plugin has
 * a serialiser to get wrong, and a crash between two saves loses what came after the first. Bytes that the host owns
 * need no code in the plugin, are a checkpoint at every batch, and survive the death of the process they were in.
 */

/* A plugin's own object. The plugin defines the struct; the host only keeps the pointer. */
typedef struct dmsae_instance dmsae_instance;

/* ---- dmsae.state/1 (since 0.3) ------------------------------------------------------------------------------------
 *
 * For a plugin with states that knows which of its other builds wrote what it can go on from. Optional: without it the
 * host goes on from a state of the same state version and warns that another build wrote it.
 */
#define DMSAE_STATE "dmsae.state/1"

/* Frozen. */
typedef struct dmsae_state {
    uint32_t struct_size;
    uint32_t reserved;

    /* Whether a state with this plugin's own state version, written by a build that called itself `version` (which may be
     * this one's too), may be gone on from. Not 0: yes, without a word. 0: no, the host refuses it.
     * [any] [created]
     * Ownership: `version` is the host's, UTF-8, until it returns.
     * Errors: none; the answer to the same version is the same for the instance's whole life.  Since: 0.3
     *
     * DMSAE-STATE-06  A plugin accepts what its own version wrote. */
    int32_t (*accepts)(dmsae_instance *instance, const char *version);
} dmsae_state;

/* A setting from the user; see parameters.h. Array element: frozen. */
typedef struct dmsae_parameter {
    const char *key;   /* UTF-8, the host's, valid until create returns */
    const char *value; /* UTF-8, the host's, valid until create returns */
    uint64_t reserved[2];
} dmsae_parameter;

/* See host.h and entry.h. */
typedef struct dmsae_host dmsae_host;
typedef struct dmsae_entry dmsae_entry;

DMSAE_END

#if DMSAE_ABI_MINOR_REQUIRED > DMSAE_ABI_MINOR
#error "DMSAE_ABI_MINOR_REQUIRED is newer than this header"
#endif

#endif
