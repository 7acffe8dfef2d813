/* The oldest plugin there is: a scorer and a rule, built with the headers of version 0.0 beside it. The binary in
 * first-x86_64.so is what every later host must load and use; it is never built again. It was made by
 *
 *   cd Tests/PluginABITests/Versions/0.0
 *   cc -O2 -s -shared -fPIC -fvisibility=hidden -I . first.c -o first-x86_64.so
 */
#include "dmsae/dmsae.h"

#include <string.h>

static struct dmsae_instance { int unused; } only;
static float factor = 1;

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags) || batch->struct_size < DMSAE_SCORER_BATCH_SIZE_V0) return DMSAE_ERR_UNSUPPORTED;
    for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = factor * batch->codes->values[e];
    return DMSAE_OK;
}

static dmsae_selection_scope scope(dmsae_instance *self) {
    (void)self;
    return DMSAE_SCOPE_ROW;
}

static dmsae_status upper_count(dmsae_instance *self, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call) {
    (void)self, (void)context, (void)call;
    *count = 1;
    return DMSAE_OK;
}

/* The largest of each row. */
static dmsae_status select_entries(dmsae_instance *self, const dmsae_selection_context *context,
                                   const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call) {
    (void)self, (void)context, (void)call;
    for (int64_t r = 0; r < candidates->rows; r++) {
        int64_t best = -1;
        for (int64_t e = candidates->row_offsets[r]; e < candidates->row_offsets[r + 1]; e++)
            if (best < 0 || candidates->values[e] > candidates->values[best]) best = e;
        if (best >= 0) selected[best] = 1;
    }
    return DMSAE_OK;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};
static const dmsae_sparsity_rule rule = {sizeof rule, 0, scope, upper_count, select_entries};
static const char *const scorer_ids[] = {DMSAE_SCORER_PER_TOKEN}, *const rule_ids[] = {DMSAE_SPARSITY_RULE};
static const dmsae_descriptor about[] = {
    {sizeof about[0], DMSAE_KIND_SCORER, "first-scorer", "First", "1.0", "Apache-2.0", "factor=N times the activation",
     scorer_ids, 1, 0, DMSAE_PLUGIN_DETERMINISTIC},
    {sizeof about[0], DMSAE_KIND_SPARSITY_RULE, "first-rule", "First", "1.0", "Apache-2.0", "The largest of each token",
     rule_ids, 1, 0, DMSAE_PLUGIN_DETERMINISTIC}};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t i) {
    (void)entry;
    return i < 2 ? &about[i] : 0;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *set, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)host;
    *out = &only;
    if (count == 0) return DMSAE_OK;
    if (index == 0 && count == 1 && strcmp(set[0].key, "factor") == 0 && set[0].value[0] >= '1' && set[0].value[0] <= '9') {
        factor = (float)(set[0].value[0] - '0');
        return DMSAE_OK;
    }
    if (call->error_capacity > 0) strncat(call->error, set[0].key, call->error_capacity - 1);
    return DMSAE_ERR_UNKNOWN_PARAMETER;
}

static void destroy(dmsae_instance *self) { (void)self; }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    if (strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0) return &scorer;
    return strcmp(id, DMSAE_SPARSITY_RULE) == 0 ? &rule : 0;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 2,
                                  descriptor, create, destroy, get_extension};

const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
