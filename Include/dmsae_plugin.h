/* dmsae_plugin.h: the C ABI between dmsae and its plugins in one file, made of the headers in Include/dmsae. Do not edit it. */

/* dmsae.h: the C ABI between dmsae and its plugins. Include this file; it includes the others.
 *
 * A plugin is one shared object that exports one function. This is a whole scorer
 * (Plugins/Template/scorer.c; a test keeps the two the same):
 *
 *   #include <string.h>
 *   #include "dmsae/dmsae.h"
 *
 *   static struct dmsae_instance { int unused; } only;
 *
 *   static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
 *       if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
 *       for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = batch->codes->values[e];
 *       return DMSAE_OK;
 *   }
 *   static const dmsae_scorer_per_token table = {sizeof table, 0, score};
 *   static const char *const ids[] = {DMSAE_SCORER_PER_TOKEN};
 *   static const dmsae_descriptor about = {
 *       sizeof about, DMSAE_KIND_SCORER, "activation", "Activation", "1.0.0", "Apache-2.0", "The activation itself",
 *       ids, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT, 0, 0, 0};
 *
 *   static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t i) { return i == 0 ? &about : 0; }
 *   static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
 *                              const dmsae_parameter *set, uint32_t count, dmsae_instance **out, dmsae_call *call) {
 *       *out = &only;
 *       if (count == 0) return DMSAE_OK;
 *       if (call->error_capacity > 0) strncat(call->error, set[0].key, call->error_capacity - 1);
 *       return DMSAE_ERR_UNKNOWN_PARAMETER;
 *   }
 *   static void destroy(dmsae_instance *self) {}
 *   static const void *get_extension(dmsae_instance *self, const char *id) {
 *       return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &table : 0;
 *   }
 *   static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
 *                                     descriptor, create, destroy, get_extension};
 *   const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) { return &entry; }
 *
 * Built by   cc -O2 -shared -fPIC -I Include scorer.c -o scorer.so
 * and used by naming the path of scorer.so where a scorer's name is asked for.
 *
 * These headers are the specification; what they do not say is not promised. Where to read:
 *   version.h        the versions of the program and of the ABI
 *   types.h          versions, growth rules, status codes, the call header, threads
 *   tensor.h         borrowed views of dense and sparse arrays
 *   entry.h          the exported function, the plugin's description, create and destroy
 *   parameters.h     the settings a plugin takes, described
 *   manifest.h       what a file says about itself without being run
 *   host.h           what a plugin may ask of the host: log, cancel
 *   evaluation.h     what a scorer may ask of the host: losses of edited reconstructions, gradients elsewhere, the head
 *   scorer.h         kind "scorer": how much each active latent matters to the next-token loss
 *   sparsity_rule.h  kind "sparsity rule": which positive pre-activations a batch keeps
 *
 * Rationale: what was left out, until a plugin needs it. Live parameters: a scorer's settings hold for a pass, and a run
 * record names them. Host services for memory, threads, BLAS, clocks and progress: a plugin has its own, and the host sees progress in
 * the questions that are asked (evaluation.h). A stamp that says when borrowed memory ends: it ends with the call, always.
 *
 * Changes, one line a minor version:
 *   0.0   first version: scorer (per token), sparsity rule, log, cancel.
 *   0.1   scorers that accumulate, named outputs, states; losses and gradients on request (evaluation.h); described
 *         parameters; manifest; sparsity rules with learnable tensors, surrogate gradients, penalty, calibration,
 *         inference form, rescaling.
 *   0.2   mean activations of the whole pass on request (evaluation.h); the pass's budget in dmsae_scoring_plan; outputs
 *         that say what the score is the mean of, and how it was drawn (DMSAE-OUTPUT-03).
 *   0.3   an entry that refuses says why; batches with encoder, thresholds, documents, norms of x, the model's own
 *         probabilities and the hook point, where a flag asks for what costs; groups and calibrated thresholds for rules;
 *         scorers that look more than once, in order, from one state; outputs [m, m] and [m, N]; states of other builds of a plugin; requirements and sanitizer in manifests; DLPack's
 *         flags as of its 1.2; losses, divergences, logit differences and directions, gradients of them under RelP's rules,
 *         and the rows of the head, on request (evaluation.h).
 */
#ifndef DMSAE_DMSAE_H
#define DMSAE_DMSAE_H


#endif

/* version.h: the versions of the program that these headers came with and of the ABI that they describe. Neither is
 * written anywhere else: the program, its packages and the wheel read this file. */
#ifndef DMSAE_VERSION_H
#define DMSAE_VERSION_H

#define DMSAE_VERSION "0.1.0"
#define DMSAE_ABI_MAJOR 0u
#define DMSAE_ABI_MINOR 3u

#endif

/* types.h: what versions promise, how things grow, status codes, the call header, threads. */
#ifndef DMSAE_TYPES_H
#define DMSAE_TYPES_H

#include <stddef.h>
#include <stdint.h>


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

/* tensor.h: borrowed views of arrays that the host owns. */
#ifndef DMSAE_TENSOR_H
#define DMSAE_TENSOR_H


DMSAE_BEGIN

/* ---- Dense --------------------------------------------------------------------------------------------------------
 *
 * DMSAE-TENSOR-01  A view, what it points at and the data are valid until the call they were passed to returns. A
 *                  plugin keeps no pointer to them and does not write through one marked DMSAE_TENSOR_READ_ONLY.
 * DMSAE-TENSOR-02  In this version every tensor is on the CPU, float32 with one lane, row-major without gaps,
 *                  byte_offset 0, and the data of one with two dimensions begins at a multiple of 64 bytes. Other
 *                  forms will go only to plugins that declare them.
 * DMSAE-TENSOR-03  As in DLPack since 1.2 `strides` is never null where ndim is not 0, on hosts of all versions. To a plugin
 *                  whose abi_minor_min is 3 or more, flags have DLPack's meaning where DLPack has one: bit 0x2 (IS_COPIED
 *                  there) is never set, and DMSAE_TENSOR_CONTIGUOUS is another bit. To others both bits are set.
 *
 * Rationale: the fields up to byte_offset have the order and the meaning of DLPack's DLTensor, and codes and device
 * types its numbers, so that a plugin in Python can hand the data to an array library without a copy. DLPack itself is
 * an exchange of *owned* tensors, has no sparse form, and distributions carry copies from before its version 1.0.
 */
#define DMSAE_DEVICE_CPU 1 /* kDLCPU. Data of any other device must not be dereferenced. */

#define DMSAE_DTYPE_INT 0u    /* kDLInt */
#define DMSAE_DTYPE_UINT 1u   /* kDLUInt */
#define DMSAE_DTYPE_FLOAT 2u  /* kDLFloat */
#define DMSAE_DTYPE_BFLOAT 4u /* kDLBfloat */

#define DMSAE_TENSOR_READ_ONLY 0x1ull /* DLPACK_FLAG_BITMASK_READ_ONLY */
/* Row-major without gaps: strides say nothing more. */
#if DMSAE_ABI_MINOR_REQUIRED >= 3
#define DMSAE_TENSOR_CONTIGUOUS 0x100ull
#else
#define DMSAE_TENSOR_CONTIGUOUS 0x2ull
#endif

/* Frozen. */
typedef struct dmsae_device {
    int32_t type; /* DMSAE_DEVICE_... */
    int32_t id;   /* 0 for the CPU */
} dmsae_device;

/* Frozen. float32 is {DMSAE_DTYPE_FLOAT, 32, 1}. */
typedef struct dmsae_dtype {
    uint8_t code; /* DMSAE_DTYPE_... */
    uint8_t bits;
    uint16_t lanes;
} dmsae_dtype;

/* Frozen: element sizes and offsets never change. */
typedef struct dmsae_tensor {
    void *data; /* the host's; not null even where a dimension is 0 */
    dmsae_device device;
    int32_t ndim;
    dmsae_dtype dtype;
    const int64_t *shape;                  /* [ndim] the host's */
    const int64_t *DMSAE_NULLABLE strides; /* [ndim] in elements, the host's; DMSAE-TENSOR-03 */
    uint64_t byte_offset;
    uint64_t flags;            /* DMSAE_TENSOR_... ; DMSAE-GROWTH-07 */
    void *DMSAE_NULLABLE sync; /* null on the CPU: what to wait for before reading */
    uint64_t reserved[3];
} dmsae_tensor;

/* ---- Sparse -------------------------------------------------------------------------------------------------------
 *
 * Compressed rows: the entries of row r are row_offsets[r] <= e < row_offsets[r + 1], entry e is the value values[e]
 * in column column_indices[e]. "CSR order" is ascending e: by row, then by column.
 *
 *     [[0, 5, 0],     rows 2, columns 3, count 3
 *      [7, 0, 9]]     row_offsets {0, 1, 3}, column_indices {1, 0, 2}, values {5, 7, 9}
 *
 * DMSAE-CSR-01  row_offsets[0] is 0, row_offsets[rows] is count, and none is less than the one before.
 * DMSAE-CSR-02  Within a row the columns ascend and none occurs twice; each is in 0 <= column < columns.
 * DMSAE-CSR-03  No stored value is zero, NaN or infinite.
 * DMSAE-CSR-04  As DMSAE-TENSOR-01, and all of it is read-only. Each array begins at a multiple of 64 bytes.
 *
 * Rationale: at 4096 tokens, 16384 latents and 64 active the dense matrix takes 256 MiB, this form 2 MiB.
 */
/* Frozen. */
typedef struct dmsae_csr {
    int64_t rows;
    int64_t columns;
    int64_t count;
    const int64_t *row_offsets;    /* [rows + 1] the host's */
    const int32_t *column_indices; /* [count] the host's; not null even if count is 0 */
    const float *values;           /* [count] the host's; not null even if count is 0 */
    uint64_t reserved[2];
} dmsae_csr;

DMSAE_END

#endif

/* parameters.h: the settings a plugin takes, described, so that a host can check them, print help and write records.
 *
 * Since 0.1. A dmsae_descriptor points at these. What a user writes as `scorer.so,seed=7,mode=signed` reaches create as
 * dmsae_parameter pairs of texts.
 */
#ifndef DMSAE_PARAMETERS_H
#define DMSAE_PARAMETERS_H


DMSAE_BEGIN

/* How a value is written and read. */
DMSAE_ENUM(dmsae_parameter_type) {
    DMSAE_PARAMETER_BOOL = 1,    /* "true" or "false" */
    DMSAE_PARAMETER_INTEGER = 2, /* decimal digits with an optional leading '-', in -2^63 .. 2^63 - 1 */
    DMSAE_PARAMETER_NUMBER = 3,  /* what C's strtod reads in the C locale, whole, finite */
    DMSAE_PARAMETER_CHOICE = 4,  /* one of `choices`, letter for letter */
    DMSAE_PARAMETER_TEXT = 5,    /* any UTF-8 without ',' */
    DMSAE_PARAMETER_PATH = 6     /* as text; the host makes it absolute */
};

/* The value changes no result: it is kept out of what says whether two runs are the same. */
#define DMSAE_PARAMETER_COSMETIC 0x1ull
/* Shown in the long help only. */
#define DMSAE_PARAMETER_ADVANCED 0x2ull
/* The value is a list: DMSAE-PARAM-05. Since 0.3; older hosts take the value for one of its type, and refuse several. */
#define DMSAE_PARAMETER_LIST 0x4ull

/* One setting. The plugin's, valid until the process ends. Grows at its end.
 *
 * DMSAE-PARAM-01  `key`: characters a-z, 0-9, '-', '_', '.', at least one, unique in the plugin; `description` is not
 *                 empty.
 * DMSAE-PARAM-02  A default is a legal value. The range of integers and numbers is minimum <= value <= maximum, neither
 *                 NaN; -infinity and infinity for none. Other types ignore both.
 * DMSAE-PARAM-03  A host of 0.1 or newer refuses what does not fit and passes create every setting of the list, in its
 *                 order, defaults filled in; a required one it demands of the user. An older host passes what the user
 *                 wrote: create with fewer settings behaves as if the missing ones had their defaults.
 * DMSAE-PARAM-04  Equal settings give equal results, whether written out or left at their defaults.
 * DMSAE-PARAM-05  The value of a setting with DMSAE_PARAMETER_LIST is one or more elements with ';' between them, each as its type
 *                 and range say, none with a ';' of its own: "layers=3;7;11".
 */
typedef struct dmsae_parameter_spec {
    uint32_t struct_size;
    dmsae_parameter_type type;
    const char *key;
    const char *description;                 /* one line; of what it does, not of its type */
    const char *DMSAE_NULLABLE default_value; /* as a user would write it; null: the user must give one */
    const char *DMSAE_NULLABLE unit;          /* "nats", "tokens"; null: none */
    double minimum;
    double maximum;
    const char *DMSAE_NONNULL const *DMSAE_NULLABLE choices; /* [choice_count]; null unless the type is CHOICE */
    uint32_t choice_count;
    uint32_t reserved;
    uint64_t flags; /* DMSAE_PARAMETER_... ; DMSAE-GROWTH-07 */
} dmsae_parameter_spec;
#define DMSAE_PARAMETER_SPEC_SIZE_V1 80u

DMSAE_END

#endif

/* manifest.h: what a file says about itself without being run.
 *
 * Since 0.1. An ELF note in the shared object: owner "DMSAE", type 1, description UTF-8 JSON of at most 64 KiB. It lies
 * in a loaded segment, so strip keeps it, and a host finds it through the program headers (PT_NOTE). The text ends at
 * its first zero byte or at the end of the note. A manifest is optional: a file without one loads, and a host that must
 * know what is in it has to run it.
 *
 *   {"manifest": 1,
 *    "abi": {"major": 0, "minor_min": 0},
 *    "requires": ["x86-64-v3"],
 *    "plugins": [
 *      {"id": "activation", "kind": "scorer", "version": "1.0.0", "license": "Apache-2.0",
 *       "description": "The activation itself", "extensions": ["dmsae.scorer.per_token/1"],
 *       "flags": ["deterministic", "reentrant"], "parameters": []}]}
 *
 * kind        "scorer", "sparsity-rule"
 * flags       names of DMSAE_PLUGIN_... in lower case with '-': "deterministic", "reentrant", "needs-gradient",
 *             "needs-evaluation", "merge-exact", "scale-invariant", since 0.3 "needs-encoder",
 *             "needs-target-probabilities", "sequential"
 * parameters  {"key", "type": "bool" | "integer" | "number" | "choice" | "text" | "path", "description", "default"
 *             (text, absent if required), "unit", "minimum", "maximum" (absent if infinite), "choices",
 *             "flags": ["cosmetic", "advanced", since 0.3 "list"]}; what is absent is empty
 * requires    since 0.3, optional: what the file's code takes for granted of the processor. "x86-64-v2", "x86-64-v3" and
 *             "x86-64-v4" are the levels of the x86-64 ABI: -march=x86-64-v3 is "x86-64-v3". Absent: nothing
 * sanitizer   since 0.3, optional: the sanitizer that the file was built with, "address", "thread" or "undefined". Absent:
 *             none
 *
 * DMSAE-MANIFEST-01  A manifest says what the code says: the same plugins in the same order with the same fields.
 * DMSAE-MANIFEST-02  Keys that a reader does not know are ignored. A change of meaning is another number of "manifest".
 * DMSAE-MANIFEST-03  A file has at most one.
 * DMSAE-MANIFEST-04  A file whose code uses instructions beyond x86-64's first ones lists their level in "requires". A host of
 *                    0.3 or newer reads it before it loads the file, and refuses one whose requirements this machine does not
 *                    meet or that it does not know; without it, or on an older host, the process ends with SIGILL.
 * DMSAE-MANIFEST-05  A file that was built with a sanitizer names it in "sanitizer". A host of 0.3 or newer loads one of
 *                    "address" and "thread" only into a process that has that sanitizer's runtime, and refuses a name that it
 *                    does not know.
 *
 * Rationale: a note and not a named section, because section tables are what strip removes; JSON and not the descriptor
 * struct, because relocations in it would need the loader. `dmsae plugin inspect --manifest FILE` prints the text for a
 * file that has none.
 */
#ifndef DMSAE_MANIFEST_H
#define DMSAE_MANIFEST_H


#define DMSAE_MANIFEST_OWNER "DMSAE"
#define DMSAE_MANIFEST_TYPE 1u
#define DMSAE_MANIFEST_SECTION ".note.dmsae.plugin"

/* Puts a manifest, written as bare JSON, into the file: DMSAE_MANIFEST({"manifest": 1, ...}) at file scope, once. */
#if defined(__ELF__) && defined(__GNUC__)
#define DMSAE_MANIFEST(...) DMSAE_MANIFEST_TEXT(#__VA_ARGS__)
/* The same for a text that macros put together. */
#define DMSAE_MANIFEST_TEXT(text)                                                                                      \
    static const struct {                                                                                              \
        uint32_t owner_size, text_size, type;                                                                          \
        char owner[8];                                                                                                 \
        char json[(sizeof(text) + 3) / 4 * 4];                                                                         \
    } dmsae_manifest __attribute__((used, aligned(4), section(DMSAE_MANIFEST_SECTION))) = {                            \
        6, (sizeof(text) + 3) / 4 * 4, DMSAE_MANIFEST_TYPE, DMSAE_MANIFEST_OWNER, text}
#endif

#endif

/* host.h: what a plugin may ask of the host. */
#ifndef DMSAE_HOST_H
#define DMSAE_HOST_H


DMSAE_BEGIN

/* Who is loading the plugin. Grows at its end. */
typedef struct dmsae_host_info {
    uint32_t struct_size;
    uint32_t abi_major; /* the host's own version, DMSAE-VERSION-01 */
    uint32_t abi_minor;
    uint32_t reserved;
    const char *name;    /* "dmsae"; UTF-8, the host's, valid until the entry function returns */
    const char *version; /* the program's version; as name */
    /* Since 0.3: where an entry function that returns null says why: [error_capacity] the host's, first byte 0, valid until
     * the entry function returns; null if error_capacity is 0. DMSAE-ENTRY-08. */
    char *DMSAE_NULLABLE error;
    uint64_t error_capacity; /* bytes, the ending zero byte included */
} dmsae_host_info;
#define DMSAE_HOST_INFO_SIZE_V0 32u

/* The host, as one instance sees it. Valid from its create until its destroy has returned. Grows at its end. */
struct dmsae_host {
    uint32_t struct_size;
    uint32_t reserved;
    void *DMSAE_NULLABLE context; /* the host's; a plugin does not touch it */

    /* The table behind an id, or null if this host does not have it.
     * [any] [created], and within create
     * Ownership: the table is the host's, valid as long as the host; the same pointer each time.
     * Errors: none; null is an answer, not a failure.  Since: 0.0
     *
     * DMSAE-HOST-01  A plugin works, with less comfort, where a service is missing, or returns DMSAE_ERR_UNSUPPORTED
     *                from create naming the id it cannot do without. */
    const void *DMSAE_NULLABLE (*DMSAE_NONNULL get_extension)(const dmsae_host *host, const char *id);
};
#define DMSAE_HOST_SIZE_V0 24u

/* ---- dmsae.log/1 ------------------------------------------------------------------------------------------------ */
#define DMSAE_LOG "dmsae.log/1"

DMSAE_ENUM(dmsae_log_level) {
    DMSAE_LOG_DEBUG = 1,
    DMSAE_LOG_INFO = 2,
    DMSAE_LOG_WARNING = 3,
    DMSAE_LOG_ERROR = 4,
    DMSAE_LOG_HOST_MISBEHAVING = 5 /* the host broke a rule of these headers: name the rule */
};

/* Frozen. */
typedef struct dmsae_host_log {
    uint32_t struct_size;
    uint32_t reserved;

    /* Passes one line to the user's log.
     * [any] [created], and within create
     * Ownership: `message` is the plugin's, UTF-8, and is copied.
     * Errors: none.  Since: 0.0
     *
     * DMSAE-HOST-02  A plugin never writes to standard output or standard error itself: they belong to the program. */
    void (*log)(const dmsae_host *host, dmsae_log_level level, const char *message);
} dmsae_host_log;

/* ---- dmsae.cancel/1 --------------------------------------------------------------------------------------------- */
#define DMSAE_CANCEL "dmsae.cancel/1"

/* Frozen. */
typedef struct dmsae_host_cancel {
    uint32_t struct_size;
    uint32_t reserved;

    /* Not 0 once the user wants the running call to stop. Cheap: a load and a compare.
     * [any] [created]
     * Errors: none.  Since: 0.0
     *
     * DMSAE-HOST-03  A call that may take longer than 50 ms asks at least that often; it stops with DMSAE_CANCELLED. */
    int32_t (*is_cancelled)(const dmsae_host *host);
} dmsae_host_cancel;

DMSAE_END

#endif

/* entry.h: the one exported function, what a file says about its plugins, create and destroy. */
#ifndef DMSAE_ENTRY_H
#define DMSAE_ENTRY_H


DMSAE_BEGIN

/* ---- Description ------------------------------------------------------------------------------------------------ */
DMSAE_ENUM(dmsae_kind) {
    DMSAE_KIND_SCORER = 1,       /* scorer.h */
    DMSAE_KIND_SPARSITY_RULE = 2 /* sparsity_rule.h */
};

/* The same input gives the same bits, whatever ran before and on whichever thread. */
#define DMSAE_PLUGIN_DETERMINISTIC 0x1ull
/* [worker] functions of one instance may run on many threads at once. Without it the host makes them take turns. */
#define DMSAE_PLUGIN_REENTRANT 0x2ull
/* A scorer reads dmsae_scorer_batch.gradient. Without it the host may pass null there and save the backward pass. */
#define DMSAE_PLUGIN_NEEDS_GRADIENT 0x4ull
/* Calls a table of evaluation.h: the host may plan for the cost, which means have too.
 * Without it they are refused in every call, by hosts of all versions. Since 0.1. */
#define DMSAE_PLUGIN_NEEDS_EVALUATION 0x8ull
/* Merged states do not depend, in any bit, on how the pass was cut (scorer.h, sparsity_rule.h). Since 0.1. */
#define DMSAE_PLUGIN_MERGE_EXACT 0x10ull
/* A scorer's scores do not change when activations are multiplied by c > 0 and decoder rows by 1/c, of all latents or of each
 * with a c of its own. Since 0.1. */
#define DMSAE_PLUGIN_SCALE_INVARIANT 0x20ull
/* A scorer reads encoder, encoder_bias, thresholds or top_k of dmsae_scorer_batch. Without it they are null and 0: a process
 * of its own is not sent what it does not read. Since 0.3. */
#define DMSAE_PLUGIN_NEEDS_ENCODER 0x40ull
/* A scorer reads dmsae_scorer_batch.target_probabilities, for which the host runs the model once more from the hook point on.
 * Without it they are null. Since 0.3. */
#define DMSAE_PLUGIN_NEEDS_TARGET_PROBABILITIES 0x80ull
/* A scorer that accumulates looks at all batches in strict order, from one state: the host cuts no shards and never calls merge.
 * It may look more than once (dmsae.scorer.passes/1). Since 0.3; an older host may cut and merge all the same, so such a plugin
 * demands 0.3. */
#define DMSAE_PLUGIN_SEQUENTIAL 0x100ull

/* One plugin of a file. Everything it points at is the plugin's and valid as long as the file is loaded, which is until
 * the process ends: the host never unloads. Grows at its end.
 *
 * DMSAE-ENTRY-01  `id` is what users type: characters a-z, 0-9, '-', '_', '.', at least one, unique in the file.
 * DMSAE-ENTRY-02  `extensions` names every table that get_extension of an instance answers for, and at least the one
 *                 its kind asks for.
 * DMSAE-ENTRY-03  All strings are UTF-8 and end in a zero byte.
 */
typedef struct dmsae_descriptor {
    uint32_t struct_size;
    dmsae_kind kind;
    const char *id;
    const char *name;        /* for people */
    const char *version;     /* of the plugin; written into run records */
    const char *license;     /* an SPDX expression */
    const char *description; /* one line */
    const char *DMSAE_NONNULL const *DMSAE_NONNULL extensions; /* [extension_count] ids of tables */
    uint32_t extension_count;
    uint32_t reserved;
    uint64_t flags; /* DMSAE_PLUGIN_... ; DMSAE-GROWTH-07 */
    /* Since 0.1: the settings that create takes, [parameter_count]. With a count of 0 the plugin takes none; a plugin
     * built with 0.0, whose struct ends before, takes what its create accepts. */
    const dmsae_parameter_spec *DMSAE_NONNULL const *DMSAE_NULLABLE parameters;
    uint32_t parameter_count;
    uint32_t reserved2;
} dmsae_descriptor;
#define DMSAE_DESCRIPTOR_SIZE_V0 72u

/* ---- Entry ------------------------------------------------------------------------------------------------------ */

/* "DMSAEPLG" in memory. */
#define DMSAE_MAGIC 0x474c504541534d44ull

/* What a file is. The plugin's, valid until the process ends. Grows at its end.
 *
 * DMSAE-ENTRY-04  The first 24 bytes keep their place and meaning in every version, major ones too: they are what a
 *                 host reads to refuse a file politely.
 * DMSAE-ENTRY-05  No function pointer here or in any table is null.
 * DMSAE-ENTRY-06  Nothing but dmsae_plugin_entry is exported: build with hidden visibility. A visible helper may be
 *                 replaced by another library's function of the same name.
 *
 * Rationale: functions get the object they belong to, so that a plugin needs no global variables and a binding to
 * another language no closures. There is no init/deinit of a file: hosts and users disagree on when it runs and how
 * often, and create can do it all. There is no way to unload: closing a library whose runtime has threads or caches
 * crashes the host later.
 */
struct dmsae_entry {
    uint64_t magic;         /* DMSAE_MAGIC */
    uint32_t struct_size;
    uint32_t abi_major;     /* DMSAE_ABI_MAJOR */
    uint32_t abi_minor_min; /* the lowest minor of a host it can work with: DMSAE_ABI_MINOR_REQUIRED */
    uint32_t plugin_count;  /* at least 1 */

    /* Describes plugin `index`, the same each time; null if there is no such index.
     * [any] [no instance]
     * Ownership: the plugin's, until the process ends.  Errors: null only.  Since: 0.0 */
    const dmsae_descriptor *DMSAE_NULLABLE (*DMSAE_NONNULL descriptor)(const dmsae_entry *entry, uint32_t index);

    /* Makes an instance of plugin `index` with the user's settings.
     * [any] [no instance]
     * Ownership: `host` is the host's until destroy has returned; `parameters` [parameter_count] until create returns
     *   (copy what is kept; not null even if there are none). On DMSAE_OK `*out` is the plugin's and not null; a plugin
     *   without state may return the same pointer each time.
     * Errors: DMSAE_ERR_UNKNOWN_PARAMETER, DMSAE_ERR_INVALID_ARGUMENT, DMSAE_ERR_UNSUPPORTED, DMSAE_ERR_OUT_OF_MEMORY,
     *   DMSAE_ERR_FAILED; then there is no instance and no destroy.  Since: 0.0
     *
     * DMSAE-ENTRY-07  An unknown key is an error whose text names the key; it is never ignored. So is a value that
     *                 cannot be read, or is out of range. This holds for a plugin that describes its settings too: an
     *                 older host does not check them. */
    dmsae_status (*create)(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *parameters, uint32_t parameter_count,
                           dmsae_instance *DMSAE_NULLABLE *DMSAE_NONNULL out, dmsae_call *call);

    /* Ends an instance.
     * [control] [created], once
     * Ownership: the plugin frees what create made.  Errors: none.  Since: 0.0 */
    void (*destroy)(dmsae_instance *instance);

    /* The instance's table behind an id, or null if it has none of that exact name.
     * [any] [created]
     * Ownership: the plugin's, valid until destroy; the same pointer each time.
     * Errors: none; null is an answer.  Since: 0.0 */
    const void *DMSAE_NULLABLE (*DMSAE_NONNULL get_extension)(dmsae_instance *instance, const char *id);
};
#define DMSAE_ENTRY_SIZE_V0 56u

/* The one exported symbol. Returns the file's entry, or null if the plugin will not work with this host.
 * [any] [no instance]
 * Ownership: `host` until it returns; the entry is the plugin's until the process ends, the same pointer each time.
 * Errors: null only.  Since: 0.0
 *
 * DMSAE-ENTRY-08  A function that returns null writes why, and what would help, into host->error, where
 *                 DMSAE_HAS(host, dmsae_host_info, error_capacity) and there is room: UTF-8, ended by a zero byte, cut to fit.
 *                 The host shows it to the user. An empty text is legal and unkind. One that returns an entry writes nothing
 *                 there. Since 0.3.
 *
 * Rationale: a function and not a data symbol, so that the plugin sees the host before it answers. The name is fixed:
 * were it derived from the file's name, a renamed file would silently be no plugin at all.
 */
DMSAE_EXPORT const dmsae_entry *DMSAE_NULLABLE dmsae_plugin_entry(const dmsae_host_info *host);

DMSAE_END

#endif

/* scorer.h: how much each active latent matters to the next-token loss.
 *
 * Conventions, for every scorer:
 *
 *   Loss      next-token cross-entropy in nats; token t predicts token t + 1 of its sequence.
 *   Splice    at the hook point the model's residual stream x_t is replaced by the SAE's reconstruction x̂_t.
 *   Gradient  g_t = ∂(Σ losses of the sequence) / ∂x̂_t, in nats per unit of x̂.
 *   Sign      a POSITIVE score means that the latent helps: removing it raises the loss.
 *
 * Removing latent j at token t changes x̂_t by -a·w, with a = f[t, j] > 0 and w = W_dec[j]; so to first order the loss
 * rises by -a·⟨g, w⟩. Gradient × activation is that with the unit direction:
 *
 *     score[t, j] = -a · ⟨g_t, ŵ_j⟩,   ŵ_j = w / |w|
 *
 * For example a = 2, w = (3, 4), g = (0.1, -0.2): |w| = 5, ŵ = (0.6, 0.8), ⟨g, ŵ⟩ = -0.1, score = +0.2.
 */
#ifndef DMSAE_SCORER_H
#define DMSAE_SCORER_H


DMSAE_BEGIN

/* What was put in place of x_t where a token is scored. */
DMSAE_ENUM(dmsae_splice_mode) {
    DMSAE_SPLICE_RECONSTRUCTION = 1,           /* x̂ */
    DMSAE_SPLICE_RECONSTRUCTION_PLUS_ERROR = 2 /* x̂ + (x - x̂), the SAE's error held constant */
};

/* Where in block `layer` x stands, under TransformerLens' names. Since 0.3. */
DMSAE_ENUM(dmsae_hook) {
    DMSAE_HOOK_RESID_PRE = 1, /* blocks.L.hook_resid_pre: the residual stream that enters the block */
    DMSAE_HOOK_ATTN_OUT = 2,  /* blocks.L.hook_attn_out: what attention adds to the stream */
    DMSAE_HOOK_MLP_OUT = 3,   /* blocks.L.hook_mlp_out: what the perceptron adds to the stream */
    DMSAE_HOOK_RESID_POST = 4 /* blocks.L.hook_resid_post: the residual stream that the block hands on */
};

/* Before it encodes, the SAE subtracts b_dec from x: s = 1 in DMSAE-SCORER-12, else 0. Since 0.3. */
#define DMSAE_BATCH_SUBTRACTS_DECODER_BIAS 0x1ull

/* What one call sees: a few whole sequences, one after the other.
 *
 * N tokens = codes->rows, m candidate latents = codes->columns, d = d_model, S sequences.
 * All of it is the host's, read-only, valid until the call returns (DMSAE-TENSOR-01). Grows at its end.
 *
 * DMSAE-SCORER-01  Every entry of `codes` is positive. A token that is not scored has no entry.
 * DMSAE-SCORER-02  gradient is not null if the plugin declares DMSAE_PLUGIN_NEEDS_GRADIENT.
 * DMSAE-SCORER-12  To a plugin that declares DMSAE_PLUGIN_NEEDS_ENCODER encoder and encoder_bias are not null, and either
 *                  thresholds are not null or top_k is positive. With p = ⟨x_t - s·b_dec, W_enc[j]⟩ + b_enc[j] the codes of a
 *                  scored token are f = p where p > max(0, thresholds[j]), or the top_k largest positive p of the token, taken
 *                  over all of the SAE's latents, of which the batch has the first m. To 1e-5 of the token's largest |p|.
 * DMSAE-SCORER-13  To a plugin that declares DMSAE_PLUGIN_NEEDS_TARGET_PROBABILITIES, target_probabilities are not null.
 * DMSAE-SCORER-14  A document begins with each sequence, after each of the model's end-of-text tokens, and with each of its
 *                  beginning-of-text tokens that is no end-of-text token. Attention goes across, from later ones to earlier
 *                  ones. Padding belongs to what it stands behind.
 */
typedef struct dmsae_scorer_batch {
    uint32_t struct_size;
    dmsae_splice_mode splice_mode;
    const dmsae_csr *codes;                        /* f [N, m] activations */
    const dmsae_tensor *decoder;                   /* W_dec [m, d], rows of any norm */
    const dmsae_tensor *decoder_bias;              /* b_dec [d] */
    const dmsae_tensor *residual;                  /* x [N, d] the model's own residual stream */
    const dmsae_tensor *reconstruction;            /* x̂ [N, d] what was spliced in */
    const dmsae_tensor *DMSAE_NULLABLE gradient;   /* g [N, d] nats per unit of x̂ */
    const float *loss;               /* [N] nats, of token t predicting t + 1; 0 at the last token of a sequence */
    const int32_t *tokens;           /* [N] token ids */
    const int64_t *sequence_offsets; /* [sequence_count + 1] first token of each sequence; the last is N */
    int64_t sequence_count;          /* S */
    const uint8_t *scored;           /* [N] 1: spliced and scored; 0: the model's own residual was kept */
    int64_t first_token;             /* index of token 0 of this batch in the whole scoring pass */
    int64_t core_begin;              /* the core is the latents core_begin <= j < core_end */
    int64_t core_end;
    const int64_t *prefix_widths;    /* [prefix_count] m_1 < m_2 < ... of the Matryoshka SAE; not null if 0 */
    int64_t prefix_count;
    int64_t spliced_width;           /* how many latents x̂ is made of, from the first: m, or one of prefix_widths */
    int64_t first_sequence;          /* since 0.1: index of sequence 0 of this batch in the whole scoring pass */
    /* Since 0.3, on older hosts not there (DMSAE_HAS). The first four as DMSAE-SCORER-12 says, the fifth DMSAE-SCORER-13. */
    const dmsae_tensor *DMSAE_NULLABLE encoder;      /* W_enc [m, d], row j is latent j's */
    const dmsae_tensor *DMSAE_NULLABLE encoder_bias; /* b_enc [m] */
    const dmsae_tensor *DMSAE_NULLABLE thresholds;   /* θ [m] */
    int64_t top_k;
    const float *DMSAE_NULLABLE target_probabilities; /* [N] of token t + 1 after token t, by the model with nothing spliced
                                                         in; 0 where loss is of no token */
    const float *residual_norms;     /* [N] |x_t| */
    const int64_t *document_offsets; /* [document_count + 1] first token of each document, ascending; the last is N */
    int64_t document_count;
    uint64_t flags;                  /* DMSAE_BATCH_... ; DMSAE-GROWTH-07 */
    int32_t layer;                   /* the block of the hook point, from 0 */
    dmsae_hook hook;
} dmsae_scorer_batch;
#define DMSAE_SCORER_BATCH_SIZE_V0 144u

/* ---- dmsae.scorer.per_token/1 ----------------------------------------------------------------------------------- */
#define DMSAE_SCORER_PER_TOKEN "dmsae.scorer.per_token/1"

/* Frozen. */
typedef struct dmsae_scorer_per_token {
    uint32_t struct_size;
    uint32_t reserved;

    /* Writes scores[e] for every entry e of batch->codes, in CSR order.
     * [worker] [created]
     * Ownership: `scores` [batch->codes->count] is the host's; its content before the call means nothing.
     * Errors: any status, with text in `call`.  Since: 0.0
     *
     * DMSAE-SCORER-03  Every element of `scores` is written, and each is finite. The host checks both.
     * DMSAE-SCORER-04  Positive means that the latent helps.
     * DMSAE-SCORER-05  A score depends on the batch and the parameters alone, never on earlier calls. The host cuts
     *                  the pass into batches as it likes, and takes means and quantiles over tokens itself.
     * DMSAE-SCORER-06  The host makes no call for a batch without entries.
     */
    dmsae_status (*score)(dmsae_instance *instance, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call);
} dmsae_scorer_per_token;

/* ---- dmsae.scorer.accumulate/1 (since 0.1) ------------------------------------------------------------------------
 *
 * For results that are not parallel to the codes: totals over the pass, effects at other tokens than the latent's own,
 * several quantities at once. The host gives every batch of the pass to `accumulate`, once, and asks `finish` at the
 * end. A plugin has this table, or per_token, or both: with both, the score is made of per_token's by the host's
 * aggregate, and the outputs after output 0 are written beside it.
 *
 *   begin(plan, state)                    one state a shard
 *   accumulate(batch, state)              every batch of the shard, in ascending order of first_token
 *   merge(into, from)                     the next shard's state into the first's, in ascending order
 *   finish(state) -> outputs              any number of times; the state does not change
 */
#define DMSAE_SCORER_ACCUMULATE "dmsae.scorer.accumulate/1"

/* What is known before the first batch. The host's, valid until the call returns. Grows at its end. */
typedef struct dmsae_scoring_plan {
    uint32_t struct_size;
    dmsae_splice_mode splice_mode;
    int64_t latent_count;   /* m: columns of every batch's codes */
    int64_t dimension;      /* d */
    int64_t sequence_count; /* S: sequences of the whole pass, of all shards */
    int64_t token_count;    /* N: tokens of the whole pass, those that are not scored included */
    int64_t core_begin;     /* as in dmsae_scorer_batch */
    int64_t core_end;
    int64_t evaluation_budget; /* since 0.2: groups of dmsae.eval/1 for the whole pass, of all shards; INT64_MAX: no limit */
    int64_t pass_count; /* since 0.3: P, how often accumulate gets every batch: 1 unless dmsae.scorer.passes/1 says more */
    int64_t pass;       /* since 0.3: which of them a call of accumulate is of, from 0; P in finish, else 0 */
} dmsae_scoring_plan;
#define DMSAE_SCORING_PLAN_SIZE_V1 56u

/* The shape of an output, row-major. */
DMSAE_ENUM(dmsae_output_shape) {
    DMSAE_OUTPUT_LATENT = 1,          /* [m] */
    DMSAE_OUTPUT_LATENT_SEQUENCE = 2, /* [m, S] */
    DMSAE_OUTPUT_LATENT_PAIR = 3,     /* [m, m]; since 0.3 */
    DMSAE_OUTPUT_LATENT_TOKEN = 4     /* [m, N], N the tokens of the whole pass; since 0.3 */
};

#define DMSAE_OUTPUT_HIGHER_IS_BETTER 0x1ull /* a larger value means a latent that helps more */
/* What output 0 is made of, sequence by sequence; all three are [m, S]. Since 0.2; DMSAE-OUTPUT-03. */
#define DMSAE_OUTPUT_TERMS 0x2ull     /* y: what the sequence says; NaN where it was not asked */
#define DMSAE_OUTPUT_EXPANSION 0x4ull /* e: how many like it an evaluated one stands for; 0 where it was not asked */
#define DMSAE_OUTPUT_SIZE 0x8ull      /* x: known of every sequence, about in proportion to y; 0 where y is 0 for sure */

/* One result, described. The plugin's, valid until destroy. Grows at its end.
 *
 * DMSAE-OUTPUT-01  `name` is the tensor's name in files: characters a-z, 0-9, '_', at least one, unique in the plugin,
 *                  and none of those that the host writes beside it: "scores", "core", "per_token".
 * DMSAE-OUTPUT-02  Output 0 is the score: [m], and DMSAE-SCORER-04 holds. Rankings and cores are made from it.
 * DMSAE-OUTPUT-03  At most one output has each of the flags TERMS, EXPANSION and SIZE, the last two only beside TERMS and
 *                  both or neither. With TERMS alone, output 0 is its mean over the sequences. With all three it is the
 *                  ratio estimate (Σ_s x_s / S) · (Σ_s e_s·y_s) / (Σ_s e_s·x_s), the sums of y over e > 0. A host needs
 *                  them to say what the score would have been had other sequences been drawn.
 */
typedef struct dmsae_output {
    uint32_t struct_size;
    dmsae_output_shape shape;
    const char *name;
    const char *unit;              /* "nats", "nats per token", "1"; never empty */
    const char *description;       /* one line */
    uint64_t flags;                /* DMSAE_OUTPUT_... ; DMSAE-GROWTH-07 */
    int32_t standard_error_of;     /* this is the standard error of that output, of the same shape; -1: of none */
    int32_t count_of;              /* this counts the terms that output, of the same shape, is made of; -1: of none */
} dmsae_output;
#define DMSAE_OUTPUT_SIZE_V1 48u

/* Frozen. */
typedef struct dmsae_scorer_accumulate {
    uint32_t struct_size;
    uint32_t state_version; /* DMSAE-STATE-05 */

    /* How many outputs there are, at least 1 and at most 64; the same for the instance's whole life.
     * [any] [created]
     * Errors: none.  Since: 0.1 */
    uint32_t (*output_count)(dmsae_instance *instance);

    /* Describes output `index`, the same pointer each time; null if there is no such index.
     * [any] [created]
     * Ownership: the plugin's, valid until destroy.  Errors: null only.  Since: 0.1 */
    const dmsae_output *DMSAE_NULLABLE (*DMSAE_NONNULL output)(dmsae_instance *instance, uint32_t index);

    /* Writes the bytes that a state of this pass needs.
     * [any] [created]
     * Ownership: `bytes` is the host's.
     * Errors: DMSAE_ERR_UNSUPPORTED for a pass it cannot do; DMSAE_ERR_FAILED.  Since: 0.1
     *
     * DMSAE-SCORER-07  The size depends on plan and parameters alone. 0 is legal: `state` still is not null. */
    dmsae_status (*state_size)(dmsae_instance *instance, const dmsae_scoring_plan *plan, uint64_t *bytes,
                               dmsae_call *call);

    /* Prepares the state of one shard, which is all zero.
     * [worker] [created]
     * Ownership: `state` is the host's (DMSAE-STATE).  Errors: any status.  Since: 0.1 */
    dmsae_status (*begin)(dmsae_instance *instance, const dmsae_scoring_plan *plan, void *state, dmsae_call *call);

    /* Adds one batch.
     * [worker] [created]
     * Ownership: as begin; the batch as in per_token.  Errors: any status.  Since: 0.1
     *
     * DMSAE-SCORER-08  Unlike per_token's, a batch without entries is given too: its tokens count.
     * DMSAE-SCORER-09  What depends on chance is drawn from the parameters and the batch's place in the pass
     *                  (first_token, first_sequence), never from a generator that runs on: batches of other shards do
     *                  not change it. */
    dmsae_status (*accumulate)(dmsae_instance *instance, const dmsae_scoring_plan *plan,
                               const dmsae_scorer_batch *batch, void *state, dmsae_call *call);

    /* Adds the state `other`, of the shard after those already in `state`.
     * [worker] [created]
     * Ownership: both are the host's; `other` is read-only.  Errors: any status.  Since: 0.1
     *
     * DMSAE-SCORER-10  Sums over many tokens are in double or in integers. With DMSAE_PLUGIN_MERGE_EXACT the outputs
     *                  do not depend on the cut into shards, in any bit; else to 1e-9 of their largest magnitude. */
    dmsae_status (*merge)(dmsae_instance *instance, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call);

    /* Writes every output from a state.
     * [worker] [created]
     * Ownership: `outputs` [output_count] and what it points at are the host's: outputs[i] holds as many doubles as
     *   the shape of output i says, in arbitrary bits before.  Errors: any status.  Since: 0.1
     *
     * DMSAE-SCORER-11  Every element is written. NaN means "no evidence", as for a latent that never fired, and is
     *                  never a way to fail; infinity is an error. A latent without a score never enters a core. */
    dmsae_status (*finish)(dmsae_instance *instance, const dmsae_scoring_plan *plan, const void *state,
                           double *DMSAE_NONNULL const *DMSAE_NONNULL outputs, dmsae_call *call);
} dmsae_scorer_accumulate;

/* ---- dmsae.scorer.passes/1 (since 0.3) ----------------------------------------------------------------------------
 *
 * For scorers that look more than once, as one that learns a mask does: after the last batch of a pass comes the first of the
 * next, with the state as it was left. What a pass costs the host, a run of the model forward and back, each pass costs.
 *
 *   begin(plan, state)
 *   accumulate(batch, state)     every batch with pass = 0; every batch with pass = 1; ... pass = P - 1
 *   finish(state) -> outputs
 */
#define DMSAE_SCORER_PASSES "dmsae.scorer.passes/1"

/* Frozen. */
typedef struct dmsae_scorer_passes {
    uint32_t struct_size;
    uint32_t reserved;

    /* Writes P, how many passes over all batches there are to be.
     * [any] [created]
     * Ownership: `count` is the host's. In `plan` pass_count is 1.
     * Errors: DMSAE_ERR_UNSUPPORTED for a pass it cannot do; DMSAE_ERR_FAILED.  Since: 0.3
     *
     * DMSAE-SCORER-15  A plugin with this table has dmsae.scorer.accumulate/1 too and declares DMSAE_PLUGIN_SEQUENTIAL. P is
     *                  at least 1 and at most 1000000, and depends on plan and parameters alone.
     * DMSAE-SCORER-16  Every pass has the same batches at the same places, in the same order. The evaluation budget is for
     *                  all passes together. Scores of tokens, where the plugin has them too, are asked for in pass 0. */
    dmsae_status (*pass_count)(dmsae_instance *instance, const dmsae_scoring_plan *plan, int64_t *count,
                               dmsae_call *call);
} dmsae_scorer_passes;

DMSAE_END

#endif

/* evaluation.h: what a scorer may ask of the host while it looks at a batch: the loss had the reconstruction been
 * another, the gradient there, and how active latents are in the whole pass.
 *
 * Since 0.1; dmsae.means/1 since 0.2; dmsae.eval/2, dmsae.grad/2 and dmsae.head/1 since 0.3. The tables are the host's, found by dmsae_host.get_extension, and are used from
 * within `score` or `accumulate`, about the batch of that call.
 *
 * Each request is about one sequence of the batch. x̂ is the batch's `reconstruction`; positions with scored = 0 keep
 * the model's own residual whatever is asked, and edits there do nothing. T is the length of the sequence.
 *
 * Attention is causal: an edit at token t changes no loss before t, and the host starts there. A plugin that gives many
 * groups in one call lets the host share one forward pass among them.
 */
#ifndef DMSAE_EVALUATION_H
#define DMSAE_EVALUATION_H


DMSAE_BEGIN

/* ---- dmsae.eval/1 ----------------------------------------------------------------------------------------------- */
#define DMSAE_EVAL "dmsae.eval/1"

/* What happens to the latent's activation a = f[t, j], and so to x̂_t += (a' - a)·W_dec[j]. */
DMSAE_ENUM(dmsae_edit_operation) {
    DMSAE_EDIT_SCALE = 1, /* a' = value · a; value 0 ablates. Tokens where the latent is inactive stay as they are */
    DMSAE_EDIT_SET = 2,   /* a' = value, at every scored token of the range, active or not */
    DMSAE_EDIT_ROWS = 3   /* x̂_t = rows[t - first_token], at every scored token of the range; latent is not read */
};

/* One change of x̂ in the tokens first_token <= t < end_token, counted in the batch. Array element: frozen. */
typedef struct dmsae_edit {
    int64_t first_token;
    int64_t end_token;
    int32_t latent; /* column of codes, row of decoder */
    dmsae_edit_operation operation;
    float value;
    uint32_t reserved;
    const float *DMSAE_NULLABLE rows; /* [end_token - first_token, d] the plugin's; null unless DMSAE_EDIT_ROWS */
    uint64_t reserved2;
} dmsae_edit;

/* The edits of one sequence that act together, in their order, and what they lead to. Array element: frozen. */
typedef struct dmsae_edit_group {
    int64_t sequence;             /* of the batch */
    int64_t first_edit;           /* its edits are edits[first_edit ..< first_edit + edit_count] */
    int64_t edit_count;           /* 0 is legal and changes nothing */
    float *DMSAE_NULLABLE losses; /* [T] the plugin's, or null; written: nats, token t predicting t + 1, last one 0 */
    double loss_change;           /* written: Σ_t (loss after - loss before) of the sequence, in nats */
    uint64_t reserved[2];
} dmsae_edit_group;

/* Frozen. */
typedef struct dmsae_host_eval {
    uint32_t struct_size;
    uint32_t reserved;

    /* The losses of edited reconstructions; writes `losses` and `loss_change` of every group.
     * [calling] [created]
     * Ownership: `groups` [group_count] and `edits` [edit_count] are the plugin's; the host writes only what is marked
     *   "written".
     * Errors: DMSAE_ERR_INVALID_ARGUMENT for a sequence, token or latent that is not in the batch, an unknown
     *   operation, an edit outside its group's sequence, a value that is not finite; DMSAE_BUDGET_EXHAUSTED if
     *   group_count is more than `remaining`: then nothing was evaluated; DMSAE_CANCELLED; DMSAE_ERR_FAILED.
     * Since: 0.1
     *
     * DMSAE-EVAL-01  Groups do not see each other. Order and company of groups change losses by rounding only, to
     *                1e-5 of the largest loss; the same call gives the same bits.
     * DMSAE-EVAL-02  Losses before the first changed token are those of the batch, bit for bit.
     * DMSAE-EVAL-03  A plugin returns DMSAE_CANCELLED when this does, and may finish with less when the budget is
     *                spent. */
    dmsae_status (*losses)(const dmsae_host *host, const dmsae_scorer_batch *batch, dmsae_edit_group *groups,
                           int64_t group_count, const dmsae_edit *edits, int64_t edit_count, dmsae_call *call);

    /* How many groups a call should carry to be cheap; at least 1. More is legal.
     * [calling] [created]
     * Errors: none.  Since: 0.1 */
    int64_t (*preferred_groups)(const dmsae_host *host);

    /* How many groups may still be evaluated in this pass; INT64_MAX without a limit.
     * [calling] [created]
     * Errors: none.  Since: 0.1 */
    int64_t (*remaining)(const dmsae_host *host);
} dmsae_host_eval;

/* ---- dmsae.grad/1 ------------------------------------------------------------------------------------------------
 *
 * g(r) = ∂(Σ losses of the sequence) / ∂r at the reconstruction r [T, d]; dmsae_scorer_batch.gradient is g(x̂),
 * which is not 0 where scored is 0; what this table writes is.
 */
#define DMSAE_GRAD "dmsae.grad/1"

/* A reconstruction, and the gradient there. Array element: frozen. */
typedef struct dmsae_gradient_point {
    int64_t sequence;  /* of the batch */
    const float *rows; /* r [T, d] the plugin's; may be the batch's own */
    float *gradient;   /* [T, d] the plugin's; written: g(r), and 0 where scored is 0 */
    double loss;       /* written: Σ_t losses at r, in nats */
    uint64_t reserved[2];
} dmsae_gradient_point;

/* A straight line between two reconstructions. Array element: frozen. */
typedef struct dmsae_gradient_path {
    int64_t sequence;   /* of the batch */
    const float *base;  /* r_0 [T, d] the plugin's; may be the batch's own */
    const float *end;   /* r_1 [T, d] the plugin's; may be the batch's own */
    double *gradient;   /* [T, d] the plugin's; written: Σ_i weights[i]·g(r_0 + alphas[i]·(r_1 - r_0)), 0 where
                           scored is 0 */
    uint64_t reserved[2];
} dmsae_gradient_path;

/* Frozen. */
typedef struct dmsae_host_grad {
    uint32_t struct_size;
    uint32_t reserved;

    /* Gradients at given reconstructions. A point counts as one group of dmsae.eval/1's budget.
     * [calling] [created]
     * Ownership: all of it is the plugin's; the host writes only what is marked "written".
     * Errors: as dmsae.eval/1's losses.  Since: 0.1 */
    dmsae_status (*at)(const dmsae_host *host, const dmsae_scorer_batch *batch, dmsae_gradient_point *points,
                       int64_t point_count, dmsae_call *call);

    /* Weighted sums of gradients along lines; nothing of size steps × T × d is made. A step of a path counts as one
     * group of the budget. The midpoint rule with n steps is alphas[i] = (i + 1/2)/n, weights[i] = 1/n.
     * [calling] [created]
     * Ownership: as `at`; `alphas` and `weights` are [step_count], finite.
     * Errors: as dmsae.eval/1's losses.  Since: 0.1 */
    dmsae_status (*along)(const dmsae_host *host, const dmsae_scorer_batch *batch, dmsae_gradient_path *paths,
                          int64_t path_count, const double *alphas, const double *weights, int64_t step_count,
                          dmsae_call *call);
} dmsae_host_grad;

/* ---- dmsae.means/1 (since 0.2) ------------------------------------------------------------------------------------
 *
 * What a batch cannot know: mean ablation needs a latent's mean, and a sample that is drawn where a latent fires most
 * needs to know how much that is of all. A service and not a part of the batch, because it costs the host a run of the
 * model up to the hook over every sequence of the pass, once, when it is first asked.
 */
#define DMSAE_MEANS "dmsae.means/1"

/* Frozen. */
typedef struct dmsae_host_means {
    uint32_t struct_size;
    uint32_t reserved;

    /* Writes the mean of every candidate's activation over the scored tokens of the whole pass, of all its shards,
     * silent ones as 0, and how many tokens those are. The same numbers whichever batch is asked about.
     * [calling] [created]
     * Ownership: `means` [m] and `scored_tokens` are the plugin's; the host writes both.
     * Errors: DMSAE_ERR_INVALID_ARGUMENT for another batch than the call's; DMSAE_CANCELLED; DMSAE_ERR_FAILED, also where
     *   a pass is not known as a whole.
     * Since: 0.2 */
    dmsae_status (*activations)(const dmsae_host *host, const dmsae_scorer_batch *batch, double *means,
                                int64_t *scored_tokens, dmsae_call *call);
} dmsae_host_means;

/* ---- Metrics (since 0.3) ------------------------------------------------------------------------------------------
 *
 * What dmsae.eval/2 and dmsae.grad/2 measure the model's answer by: of a sequence M = Σ_t v_t·m_t over its tokens t, with the
 * plugin's weights v. h is the residual stream after a block, p_t the model's distribution of the token after t.
 */
DMSAE_ENUM(dmsae_metric_kind) {
    DMSAE_METRIC_LOSS = 1,             /* m = -log p_t(token t + 1), nats; 0 at the last token: what dmsae.eval/1 measures */
    DMSAE_METRIC_DIVERGENCE = 2,       /* m = Σ_v p°_v·log(p°_v / p_v), nats; p° is the model's own, with x in the place of x̂ */
    DMSAE_METRIC_LOGIT_DIFFERENCE = 3, /* m = logit of token_a less logit of token_b, after a soft cap, if the model has one */
    DMSAE_METRIC_DIRECTION = 4         /* m = ⟨direction, h_t⟩, h after block `layer`: what a linear probe reads there */
};

/* The plugin's, until the call returns. Grows at its end. What its kind does not name is not read. */
typedef struct dmsae_metric {
    uint32_t struct_size;
    dmsae_metric_kind kind;
    const float *DMSAE_NULLABLE weights;   /* v [N] of the batch's tokens, finite; null: 1 each */
    int32_t token_a;                       /* of LOGIT_DIFFERENCE */
    int32_t token_b;
    const float *DMSAE_NULLABLE direction; /* [d] of DIRECTION, finite */
    int32_t layer;                         /* of DIRECTION: from the hook point's block to the model's last */
    uint32_t reserved;
} dmsae_metric;
#define DMSAE_METRIC_SIZE_V3 40u

/* What the backward pass takes for constant; the forward pass is the same under every rule.
 *
 * RelP (arXiv:2508.21258): norms divide by constants, act(x) is x times the constant act(x)/x, a product of two gives each
 * factor half of the gradient. Soft caps differentiate as usual under every rule. */
DMSAE_ENUM(dmsae_backward_rule) {
    DMSAE_BACKWARD_PLAIN = 1,          /* the derivative: dmsae.grad/1 */
    DMSAE_BACKWARD_RELP = 2,           /* RelP */
    DMSAE_BACKWARD_RELP_PATTERN = 3,   /* RelP, and the weights of attention are constants too */
    DMSAE_BACKWARD_ATTENTION_ONLY = 4  /* the weights of attention alone are constants */
};

/* ---- dmsae.eval/2 (since 0.3) ------------------------------------------------------------------------------------- */
#define DMSAE_EVAL_2 "dmsae.eval/2"

/* Frozen. */
typedef struct dmsae_host_eval_2 {
    uint32_t struct_size;
    uint32_t reserved;

    /* As dmsae.eval/1's losses of another metric: `losses` of a group are m [T], `loss_change` is M after less M before.
     * [calling] [created]
     * Ownership: as dmsae.eval/1's; `metric` is the plugin's.
     * Errors: as dmsae.eval/1's; DMSAE_ERR_INVALID_ARGUMENT also for a kind, token or layer that is not there, and a number of
     *   the metric that is not finite; DMSAE_ERR_UNSUPPORTED where the host does not compute this of its model.
     * Since: 0.3
     *
     * DMSAE-EVAL-04  Budget, order, company and what comes before the first changed token are as in DMSAE-EVAL-01 and 02. A
     *                metric other than LOSS runs whole sequences, so an early edit costs what a late one does. */
    dmsae_status (*values)(const dmsae_host *host, const dmsae_scorer_batch *batch, const dmsae_metric *metric,
                           dmsae_edit_group *groups, int64_t group_count, const dmsae_edit *edits, int64_t edit_count,
                           dmsae_call *call);
} dmsae_host_eval_2;

/* ---- dmsae.grad/2 (since 0.3) -------------------------------------------------------------------------------------
 *
 * As dmsae.grad/1 with g(r) = ∂M/∂r at the reconstruction r [T, d], under a rule. A point's `loss` is M at r.
 */
#define DMSAE_GRAD_2 "dmsae.grad/2"

/* Frozen. */
typedef struct dmsae_host_grad_2 {
    uint32_t struct_size;
    uint32_t reserved;

    /* Gradients at given reconstructions. A point counts as one group of the budget.
     * [calling] [created]
     * Ownership: as dmsae.grad/1's at; `metric` is the plugin's.
     * Errors: as dmsae.eval/2's values; DMSAE_ERR_INVALID_ARGUMENT also for an unknown rule.  Since: 0.3 */
    dmsae_status (*at)(const dmsae_host *host, const dmsae_scorer_batch *batch, const dmsae_metric *metric,
                       dmsae_backward_rule rule, dmsae_gradient_point *points, int64_t point_count, dmsae_call *call);

    /* Weighted sums of gradients along lines, as dmsae.grad/1's along.
     * [calling] [created]
     * Ownership: as dmsae.grad/1's along; `metric` is the plugin's.
     * Errors: as at.  Since: 0.3 */
    dmsae_status (*along)(const dmsae_host *host, const dmsae_scorer_batch *batch, const dmsae_metric *metric,
                          dmsae_backward_rule rule, dmsae_gradient_path *paths, int64_t path_count, const double *alphas,
                          const double *weights, int64_t step_count, dmsae_call *call);
} dmsae_host_grad_2;

/* ---- dmsae.head/1 (since 0.3) -------------------------------------------------------------------------------------
 *
 * How a direction reaches the logits by itself: what δ, added to the stream h_t after the last block, adds to the logit of
 * token v is ⟨δ, u_v⟩ / σ_t to first order, with the division by σ_t held constant and any soft cap left out.
 */
#define DMSAE_HEAD "dmsae.head/1"

/* Frozen. */
typedef struct dmsae_host_head {
    uint32_t struct_size;
    uint32_t reserved;

    /* Writes u of some tokens: the rows of W_U times the final norm's weights, less the mean of their elements where that norm
     * takes it off. The token -1 stands for the mean row of all tokens.
     * [calling] [created]
     * Ownership: `tokens` [count] and `rows` [count, d] are the plugin's; the host writes `rows`.
     * Errors: DMSAE_ERR_INVALID_ARGUMENT for a token that the vocabulary does not have or another batch than the call's;
     *   DMSAE_ERR_UNSUPPORTED as dmsae.eval/2; DMSAE_CANCELLED; DMSAE_ERR_FAILED.  Since: 0.3 */
    dmsae_status (*rows)(const dmsae_host *host, const dmsae_scorer_batch *batch, const int32_t *tokens, int64_t count,
                         float *rows, dmsae_call *call);

    /* Writes σ of every token of the batch: what the final norm divides the stream by that follows from x̂. The first time it is
     * asked about a batch it costs the host a run from the hook point to the last block.
     * [calling] [created]
     * Ownership: `scales` [N] is the plugin's; the host writes it.
     * Errors: as rows.  Since: 0.3 */
    dmsae_status (*scales)(const dmsae_host *host, const dmsae_scorer_batch *batch, float *scales, dmsae_call *call);
} dmsae_host_head;

DMSAE_END

#endif

/* sparsity_rule.h: which positive pre-activations a batch of tokens keeps.
 *
 * p = ReLU((x - b_dec) W_enc + b_enc) is [B, F], B tokens by F latents, and never held whole: the host computes it in
 * tiles and keeps, of each scope that the rule declares, a superset of the upper_count largest positive entries. These
 * are the candidates. The rule says which of them stay; their values do not change.
 *
 * Rationale: there is no mask of latents. What must not be selected (an exempt core, latents outside a dead set) is not
 * among the candidates, so a rule cannot forget to look. There is no two-phase form for a batch that is spread over
 * machines either: a host that spreads one gathers the candidates, which are few, and asks once. Schedules are
 * functions of context->step inside upper_count, select and backward, so nothing else has to be told of them.
 */
#ifndef DMSAE_SPARSITY_RULE_H
#define DMSAE_SPARSITY_RULE_H


DMSAE_BEGIN

/* Which entries compete with each other for a place. */
DMSAE_ENUM(dmsae_selection_scope) {
    DMSAE_SCOPE_ROW = 1,   /* those of one token: TopK. Candidates may come in blocks of rows */
    DMSAE_SCOPE_BATCH = 2, /* those of the whole batch: BatchTopK. Candidates come in one call */
    DMSAE_SCOPE_ALL = 3    /* none: the rule sees every positive entry, in blocks of rows: ReLU, JumpReLU */
};

/* What a selection is for. */
DMSAE_ENUM(dmsae_selection_mode) {
    DMSAE_MODE_TRAIN = 1,     /* a training step */
    DMSAE_MODE_CALIBRATE = 2, /* measuring a threshold on fixed parameters */
    DMSAE_MODE_INFER = 3      /* applying a trained SAE */
};

/* What a rule is told. The host's, valid until the call returns. Grows at its end. */
typedef struct dmsae_selection_context {
    uint32_t struct_size;
    dmsae_selection_mode mode;
    int64_t step;            /* training step, from 0 */
    int64_t total_steps;     /* all training steps; 0: not known */
    int64_t batch_rows;      /* B: tokens of the whole batch, of which the candidates may be a block of rows */
    int64_t first_row;       /* row of the batch that row 0 of the candidates is */
    int64_t latent_count;    /* F */
    double mean_active;      /* k: how many latents a token may keep on average */
    int64_t batch_budget;    /* entries that may be kept in the batch: k·B, less what a dense core used; may be 0 */
    int64_t core_begin;      /* the core is the latents core_begin <= j < core_end */
    int64_t core_end;
    uint32_t core_is_exempt; /* 1: none of the core is among the candidates and all of it is kept; 0: it competes */
    uint32_t reserved;
    /* Since 0.1: the tensors of dmsae.sparsity_rule.learned/1 in their order, [learnable_count], each [F], read-only.
     * Null and 0 for a rule without that table. */
    const float *DMSAE_NONNULL const *DMSAE_NULLABLE learnables;
    uint32_t learnable_count;
    uint32_t reserved2;
    /* Since 0.3: the ends m_1 < ... < m_n = F of the Matryoshka SAE's groups, [prefix_count], at least one, the core in
     * whichever it lies in: latent j is of group g, the least with j < prefix_widths[g]. Where the loss has a prefix for the
     * core alone, that is the first. */
    const int64_t *prefix_widths;
    int64_t prefix_count;
    /* Since 0.3: θ [F] of a form that was calibrated, in DMSAE_MODE_INFER; else, and for a form without thresholds, null. */
    const float *DMSAE_NULLABLE thresholds;
} dmsae_selection_context;
#define DMSAE_SELECTION_CONTEXT_SIZE_V0 88u

/* ---- dmsae.sparsity_rule/1 -------------------------------------------------------------------------------------- */
#define DMSAE_SPARSITY_RULE "dmsae.sparsity_rule/1"

/* Frozen. */
typedef struct dmsae_sparsity_rule {
    uint32_t struct_size;
    uint32_t reserved;

    /* Which entries compete; the same for the instance's whole life.
     * [any] [created]
     * Errors: none.  Since: 0.0 */
    dmsae_selection_scope (*scope)(dmsae_instance *instance);

    /* Writes the most entries that select may keep in one scope, under this context: in one row, or in the batch. It is
     * not asked for DMSAE_SCOPE_ALL.
     * [worker] [created]
     * Ownership: `count` is the host's.
     * Errors: any status, with text in `call`.  Since: 0.0
     *
     * DMSAE-RULE-01  Not negative; more than there are entries is legal and means all. A function of the context's
     *                fields other than first_row. */
    dmsae_status (*upper_count)(dmsae_instance *instance, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call);

    /* Sets selected[e] to 1 for every candidate to keep, in CSR order.
     * [worker] [created]
     * Ownership: `selected` [candidates->count] is the host's, all 0 at first.
     * Errors: any status, with text in `call`.  Since: 0.0
     *
     * DMSAE-RULE-02  Candidates are positive and finite (DMSAE-CSR-03). They hold at least the upper_count largest of
     *                each scope, or all if there are fewer, and may hold others; columns count from latent 0.
     * DMSAE-RULE-03  At most upper_count entries of a scope are set, each to 1. The host checks.
     * DMSAE-RULE-04  Among equal values the lower row comes first, then the lower column: the one first in CSR order.
     * DMSAE-RULE-05  The result depends on the context, the candidates and the parameters alone, and not on which
     *                candidates beyond the upper_count largest there are. Schedules are functions of step, so a run
     *                resumes without a history.
     * DMSAE-RULE-06  The host makes no call where there is no candidate. */
    dmsae_status (*select)(dmsae_instance *instance, const dmsae_selection_context *context,
                           const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call);
} dmsae_sparsity_rule;

/* ---- dmsae.sparsity_rule.learned/1 (since 0.1) --------------------------------------------------------------------
 *
 * For rules with parameters that train, as JumpReLU: f = p·H(p - θ), one threshold θ_j a latent. H has no gradient,
 * so the rule supplies a surrogate. With ε the bandwidth and K(u) = 1 for |u| < 1/2, else 0 (arXiv:2407.14435):
 *
 *     ∂f/∂p = H(p - θ)      ∂f/∂θ = -(θ/ε)·K((p - θ)/ε)      ∂H(p - θ)/∂θ = -(1/ε)·K((p - θ)/ε)
 *
 * For example θ = 0.5, ε = 0.2, p = 0.45: (p - θ)/ε = -0.25, K = 1, so f = 0 and yet ∂f/∂θ = -2.5.
 *
 * The host owns the tensors, their optimiser state and their place in files. A step is:
 *
 *   floors -> the host collects every p above max(0, floor) -> select -> decode, ∂L/∂f -> backward -> Adam
 *
 * L is the host's loss of the batch, a mean over its B tokens; the rule adds its penalty, of the same scale, to it.
 *
 * DMSAE-LEARNED-08  A rule with this table has the scope DMSAE_SCOPE_ALL: its thresholds decide, not a rank.
 *
 * Rationale: one call for surrogate and penalty, because both look at the same entries; [F] is the only extent,
 * because no published rule learns anything else per model; a scalar is an [F] whose gradients the rule makes equal.
 */
#define DMSAE_SPARSITY_RULE_LEARNED "dmsae.sparsity_rule.learned/1"

/* One learnable tensor [F], described. The plugin's, valid until destroy. Grows at its end.
 *
 * DMSAE-LEARNED-01  `name` is the tensor's name in files: characters a-z, 0-9, '_', at least one, unique in the plugin.
 * DMSAE-LEARNED-02  minimum <= initial <= maximum, all finite. After every update the host clamps to the range.
 */
typedef struct dmsae_learnable {
    uint32_t struct_size;
    uint32_t reserved;
    const char *name;
    const char *description;       /* one line */
    double initial;                /* every element at the start */
    double minimum;
    double maximum;
    double learning_rate_multiple; /* of the training's learning rate; not negative */
} dmsae_learnable;
#define DMSAE_LEARNABLE_SIZE_V1 56u

/* Frozen. */
typedef struct dmsae_sparsity_rule_learned {
    uint32_t struct_size;
    uint32_t reserved;

    /* How many learnable tensors there are, at most 16; the same for the instance's whole life.
     * [any] [created]
     * Errors: none.  Since: 0.1 */
    uint32_t (*learnable_count)(dmsae_instance *instance);

    /* Describes tensor `index`, the same pointer each time; null if there is no such index.
     * [any] [created]
     * Ownership: the plugin's, valid until destroy.  Errors: null only.  Since: 0.1 */
    const dmsae_learnable *DMSAE_NULLABLE (*DMSAE_NONNULL learnable)(dmsae_instance *instance, uint32_t index);

    /* Writes, for each latent, the value at and below which a pre-activation is not a candidate.
     * [worker] [created]
     * Ownership: `floors` [F] is the host's; arbitrary bits before.  Errors: any status.  Since: 0.1
     *
     * DMSAE-LEARNED-03  Each is finite. In DMSAE_MODE_TRAIN floors leave in everything that backward looks at; in the
     *                   other modes everything that select may keep. What is negative counts as 0. */
    dmsae_status (*floors)(dmsae_instance *instance, const dmsae_selection_context *context, float *floors,
                           dmsae_call *call);

    /* Turns the gradient of the loss by the kept values into gradients by pre-activations and learnable tensors, and
     * adds the rule's own penalty.
     * [worker] [created]
     * Ownership: `candidates` (values p, all rows of the batch), `selected` [candidates->count] (what select set) and
     *   `code_gradient` [candidates->count] are the host's, read-only. code_gradient is ∂L/∂f, also where f = 0
     *   because the entry was not selected. `preactivation_gradient` [candidates->count] is the host's, arbitrary bits before.
     *   `learnable_gradients` [learnable_count], each [F], are the host's and 0 before: add to them. `penalty` is the
     *   host's.
     * Errors: any status.  Since: 0.1
     *
     * DMSAE-LEARNED-04  Written are: preactivation_gradient, every element; learnable_gradients, [F] each; the
     *                   penalty in the units of L. All finite. The penalty's gradients are in both.
     * DMSAE-LEARNED-05  Gradients are those of L + penalty under the rule's surrogate: finite differences of the
     *                   surrogate's smooth form agree with them. Outside the band they are 0 for θ.
     * DMSAE-LEARNED-06  A penalty that ramps up is a function of context->step. */
    dmsae_status (*backward)(dmsae_instance *instance, const dmsae_selection_context *context,
                             const dmsae_csr *candidates, const uint8_t *selected, const float *code_gradient,
                             float *preactivation_gradient,
                             double *DMSAE_NONNULL const *DMSAE_NULLABLE learnable_gradients, double *penalty,
                             dmsae_call *call);

    /* Changes the learnable tensors, in place, to fit pre-activations that have been multiplied by `factor` > 0: the
     * host folds the scale of its input into the SAE.
     * [worker] [created]
     * Ownership: `learnables` [learnable_count], each [latent_count], are the host's.  Errors: any status.  Since: 0.1
     *
     * DMSAE-LEARNED-07  In DMSAE_MODE_INFER, select after rescale on factor·p keeps what select before kept of p. */
    dmsae_status (*rescale)(dmsae_instance *instance, int64_t latent_count, double factor,
                            float *DMSAE_NONNULL const *DMSAE_NULLABLE learnables, dmsae_call *call);
} dmsae_sparsity_rule_learned;

/* ---- dmsae.sparsity_rule.inference/1 (since 0.1) ------------------------------------------------------------------
 *
 * The form in which a trained SAE is used without the plugin. For a rule without this table the host keeps an average
 * of the smallest value selected in a batch and exports it as one threshold for all latents, as for BatchTopK.
 *
 * Rationale: a closed list, so that a checkpoint stays usable by programs that have never heard of the plugin.
 */
#define DMSAE_SPARSITY_RULE_INFERENCE "dmsae.sparsity_rule.inference/1"

DMSAE_ENUM(dmsae_inference_form) {
    DMSAE_INFERENCE_THRESHOLDS = 1, /* f = p where p > max(0, thresholds[j]), else 0 */
    DMSAE_INFERENCE_ROW_TOP_K = 2   /* f = p for the top_k largest positive p of each row, ties by DMSAE-RULE-04 */
};

/* Frozen. */
typedef struct dmsae_sparsity_rule_inference {
    uint32_t struct_size;
    uint32_t state_version; /* DMSAE-STATE-05 */

    /* The bytes of state that calibration needs; 0 if the rule needs none, and then calibrate and merge are not called.
     * [any] [created]
     * Errors: none.  Since: 0.1 */
    uint64_t (*state_size)(dmsae_instance *instance, int64_t latent_count);

    /* Looks at one batch under fixed parameters; context->mode is DMSAE_MODE_CALIBRATE.
     * [worker] [created]
     * Ownership: as select; `state` is the host's (DMSAE-STATE).  Errors: any status.  Since: 0.1 */
    dmsae_status (*calibrate)(dmsae_instance *instance, const dmsae_selection_context *context,
                              const dmsae_csr *candidates, const uint8_t *selected, void *state, dmsae_call *call);

    /* Adds the state `other`, of the batches after those already in `state`.
     * [worker] [created]
     * Ownership: both are the host's; `other` is read-only.  Errors: any status.  Since: 0.1 */
    dmsae_status (*merge)(dmsae_instance *instance, int64_t latent_count, void *state, const void *other,
                          dmsae_call *call);

    /* Writes the form in which the SAE is to be used: `form`, and `thresholds` [F] or `top_k`.
     * [worker] [created]
     * Ownership: all outputs are the host's; arbitrary bits before. `state` is read-only.
     * Errors: any status.  Since: 0.1
     *
     * DMSAE-INFERENCE-01  Thresholds are finite; top_k is at least 1. What the form does not use may stay unwritten.
     * DMSAE-INFERENCE-02  The exported form keeps what select keeps in DMSAE_MODE_INFER. On hosts of 0.3 or newer select is
     *                     then told the form's own thresholds, in its context. */
    dmsae_status (*form)(dmsae_instance *instance, const dmsae_selection_context *context, const void *state,
                         dmsae_inference_form *form, float *thresholds, int64_t *top_k, dmsae_call *call);
} dmsae_sparsity_rule_inference;

DMSAE_END

#endif

/* single_scorer.h: the plugin around one scoring function, for the common case of a scorer without state or settings.
 *
 * Not part of the ABI: it writes in source what Plugins/Template/scorer.c writes by hand, and dmsae.h does not include
 * it. Use it once, in a file of one plugin; with a second plugin or a parameter, write the tables out.
 */
#ifndef DMSAE_SINGLE_SCORER_H
#define DMSAE_SINGLE_SCORER_H

#include <string.h>


/* Defines dmsae_plugin_entry for a scorer whose score function is SCORE (dmsae_scorer_per_token.score).
 *   ID           what users type: characters a-z, 0-9, '-', '_', '.'
 *   VERSION      of the plugin;  LICENSE  an SPDX expression;  DESCRIPTION  one line
 *   FLAGS        DMSAE_PLUGIN_... ; DMSAE_PLUGIN_NEEDS_GRADIENT if SCORE reads the gradient
 */
#define DMSAE_SINGLE_SCORER(ID, VERSION, LICENSE, DESCRIPTION, FLAGS, SCORE) \
    struct dmsae_instance { int unused; }; \
    static struct dmsae_instance dmsae_single_instance; \
    static const dmsae_scorer_per_token dmsae_single_table = {sizeof(dmsae_scorer_per_token), 0, SCORE}; \
    static const char *const dmsae_single_ids[] = {DMSAE_SCORER_PER_TOKEN}; \
    static const dmsae_descriptor dmsae_single_descriptor = { \
        sizeof(dmsae_descriptor), DMSAE_KIND_SCORER, ID, ID, VERSION, LICENSE, DESCRIPTION, dmsae_single_ids, 1, 0, \
        FLAGS, 0, 0, 0}; \
    static const dmsae_descriptor *dmsae_single_describe(const dmsae_entry *entry, uint32_t index) { \
        (void)entry; \
        return index == 0 ? &dmsae_single_descriptor : 0; \
    } \
    static dmsae_status dmsae_single_create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host, \
                                            const dmsae_parameter *parameters, uint32_t parameter_count, \
                                            dmsae_instance **out, dmsae_call *call) { \
        (void)entry, (void)index, (void)host; \
        *out = &dmsae_single_instance; \
        if (parameter_count == 0) return DMSAE_OK; \
        if (call->error_capacity > 0) { \
            call->error[0] = 0; \
            strncat(call->error, parameters[0].key, call->error_capacity - 1); \
        } \
        return DMSAE_ERR_UNKNOWN_PARAMETER; \
    } \
    static void dmsae_single_destroy(dmsae_instance *instance) { (void)instance; } \
    static const void *dmsae_single_extension(dmsae_instance *instance, const char *id) { \
        (void)instance; \
        return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &dmsae_single_table : 0; \
    } \
    static const dmsae_entry dmsae_single_entry = { \
        DMSAE_MAGIC, sizeof(dmsae_entry), DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1, dmsae_single_describe, \
        dmsae_single_create, dmsae_single_destroy, dmsae_single_extension}; \
    const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) { \
        (void)host; \
        return &dmsae_single_entry; \
    }

#endif
