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

#include "types.h"

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
