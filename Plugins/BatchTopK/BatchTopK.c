/* BatchTopK (arXiv:2412.06410): the k·B largest positive pre-activations of the whole batch stay.
 *
 * Goals, in this order: the exact set, ties included (DMSAE-RULE-04); time linear in the candidates; no memory but a
 * histogram on the stack. A heap or a partial sort would move 12 bytes per entry and need memory of its own.
 */
#include "dmsae/dmsae.h"

#include <stdio.h>
#include <string.h>

/* There is no state: k comes with every call. */
struct dmsae_instance { int unused; };
static struct dmsae_instance only;

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Of `count` positive values: the bits of the k-th largest, 1 <= k <= count, and in `ties` how many entries equal to it
 * are among the k largest. The bits of positive floats order as unsigned integers, so three histograms, of 11, 11 and
 * 10 bits, find it exactly. Keep in step with the host's rankThreshold. */
static uint32_t kth_largest(const float *values, int64_t count, int64_t k, int64_t *ties) {
    static const struct { int shift, bits; } passes[] = {{21, 11}, {10, 11}, {0, 10}};
    uint32_t prefix = 0, mask = 0;
    for (int pass = 0; pass < 3; pass++) {
        const int shift = passes[pass].shift;
        const uint32_t buckets = 1u << passes[pass].bits;
        int64_t histogram[2048] = {0};
        for (int64_t e = 0; e < count; e++) {
            const uint32_t bits = bits_of(values[e]);
            if ((bits & mask) == prefix) histogram[(bits >> shift) & (buckets - 1)]++;
        }
        uint32_t bucket = buckets - 1;
        for (; histogram[bucket] < k; bucket--) k -= histogram[bucket];
        prefix |= bucket << shift;
        mask |= (buckets - 1) << shift;
    }
    *ties = k;
    return prefix;
}

static dmsae_selection_scope scope(dmsae_instance *self) {
    (void)self;
    return DMSAE_SCOPE_BATCH;
}

static dmsae_status upper_count(dmsae_instance *self, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    *count = context->batch_budget;
    return DMSAE_OK;
}

static dmsae_status select_entries(dmsae_instance *self, const dmsae_selection_context *context,
                                   const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const float *values = candidates->values;
    const int64_t count = candidates->count;
    const int64_t k = context->batch_budget;
    /* A value that is not positive and finite would not order by its bits. For such values, and only for them,
     * bits - 1 wraps or reaches past the largest finite float. */
    uint32_t wrong = 0;
    for (int64_t e = 0; e < count; e++) wrong |= bits_of(values[e]) - 1u >= 0x7f7fffffu;
    for (int64_t e = 0; wrong && e < count; e++) {
        if (bits_of(values[e]) - 1u >= 0x7f7fffffu) {
            if (call->error_capacity > 0)
                snprintf(call->error, call->error_capacity,
                         "candidate %lld is %g; candidates must be positive and finite (DMSAE-RULE-02)", (long long)e,
                         (double)values[e]);
            return DMSAE_ERR_INVALID_ARGUMENT;
        }
    }
    if (k <= 0) return DMSAE_OK;
    if (k >= count) {
        memset(selected, 1, (size_t)count);
        return DMSAE_OK;
    }
    int64_t ties;
    const uint32_t threshold = kth_largest(values, count, k, &ties);
    for (int64_t e = 0; e < count; e++) {
        const uint32_t bits = bits_of(values[e]);
        const int tie = (bits == threshold) & (ties > 0);
        ties -= tie;
        selected[e] = (uint8_t)((bits > threshold) | tie);
    }
    return DMSAE_OK;
}

static const dmsae_sparsity_rule rule = {sizeof rule, 0, scope, upper_count, select_entries};

static const char *const extensions[] = {DMSAE_SPARSITY_RULE};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SPARSITY_RULE, "batchtopk", "BatchTopK", "1.0.0", "Apache-2.0",
    "Keeps the k·B largest positive pre-activations of the batch",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT, 0, 0, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 0},
     "plugins": [
        {"id": "batchtopk", "kind": "sparsity-rule", "version": "1.0.0", "license": "Apache-2.0", "description":
          "Keeps the k·B largest positive pre-activations of the batch", "extensions": ["dmsae.sparsity_rule/1"],
          "flags": ["deterministic", "reentrant"], "parameters": []}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *parameters, uint32_t parameter_count, dmsae_instance **out,
                           dmsae_call *call) {
    (void)entry, (void)index, (void)host;
    if (parameter_count > 0) {
        if (call->error_capacity > 0)
            snprintf(call->error, call->error_capacity,
                     "unknown parameter '%s'; batchtopk takes none (k is the SAE's own setting)", parameters[0].key);
        return DMSAE_ERR_UNKNOWN_PARAMETER;
    }
    *out = &only;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { (void)self; }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    return strcmp(id, DMSAE_SPARSITY_RULE) == 0 ? &rule : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
