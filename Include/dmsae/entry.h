/* entry.h: the one exported function, what a file says about its plugins, create and destroy. */
#ifndef DMSAE_ENTRY_H
#define DMSAE_ENTRY_H

#include "host.h"
#include "parameters.h"
#include "types.h"

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
