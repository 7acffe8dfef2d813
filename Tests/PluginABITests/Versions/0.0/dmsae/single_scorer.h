/* single_scorer.h: the plugin around one scoring function, for the common case of a scorer without state or settings.
 *
 * Not part of the ABI: it writes in source what Plugins/Template/scorer.c writes by hand, and dmsae.h does not include
 * it. Use it once, in a file of one plugin; with a second plugin or a parameter, write the tables out.
 */
#ifndef DMSAE_SINGLE_SCORER_H
#define DMSAE_SINGLE_SCORER_H

#include <string.h>

#include "dmsae.h"

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
        FLAGS}; \
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
