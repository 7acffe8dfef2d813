/* What every scorer of totals among these fixtures is but for its arithmetic: a setting fault=NAME, an instance that holds
 * it, and the tables. The file that includes it defines ID, SUMMARY and FLAGS before, and the functions after. */
#include "dmsae/dmsae.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance {
    const dmsae_host *host;
    char fault[32];
    int calls;
};

static int has(const dmsae_instance *self, const char *fault) { return strcmp(self->fault, fault) == 0; }

static uint32_t output_count(dmsae_instance *self);
static const dmsae_output *output(dmsae_instance *self, uint32_t index);
static dmsae_status state_size(dmsae_instance *self, const dmsae_scoring_plan *plan, uint64_t *bytes, dmsae_call *call);
static dmsae_status begin(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, dmsae_call *call);
static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *state, dmsae_call *call);
static dmsae_status merge(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call);
static dmsae_status finish(dmsae_instance *self, const dmsae_scoring_plan *plan, const void *state, double *const *results,
                           dmsae_call *call);

static const dmsae_scorer_accumulate scorer = {
    sizeof scorer, 1, output_count, output, state_size, begin, accumulate, merge, finish};
#ifndef IDS /* what else it has, and where get_extension finds it */
#define IDS DMSAE_SCORER_ACCUMULATE
#define TABLES
#endif
static const char *const ids[] = {IDS};
static const dmsae_parameter_spec fault = {sizeof fault, DMSAE_PARAMETER_TEXT, "fault", "What to do wrong", "", NULL, 0, 0,
                                           NULL, 0, 0, 0};
static const dmsae_parameter_spec *const list[] = {&fault};
static const dmsae_descriptor about = {sizeof about, DMSAE_KIND_SCORER, ID, ID, "1.0", "MIT",
                                       SUMMARY, ids, sizeof ids / sizeof ids[0], 0, FLAGS, list, 1, 0};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    dmsae_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    self->host = host;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(given[i].key, "fault") != 0) {
            if (call->error_capacity > 0) strncat(call->error, given[i].key, call->error_capacity - 1);
            free(self);
            return DMSAE_ERR_UNKNOWN_PARAMETER;
        }
        strncpy(self->fault, given[i].value, sizeof self->fault - 1);
    }
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    TABLES
    return strcmp(id, DMSAE_SCORER_ACCUMULATE) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
