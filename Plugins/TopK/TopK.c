/* TopK (arXiv:2406.04093): each token keeps its k largest pre-activations.
 *
 * k is the training's k, rounded, unless it is given. Of equal values the lower column stays (DMSAE-RULE-04).
 */
#define DMSAE_ABI_MINOR_REQUIRED 1u /* without its inference form a TopK SAE would be used with a threshold */
#include "dmsae/dmsae.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance { int64_t k; /* 0: the training's */ };

static int64_t active(const dmsae_instance *self, const dmsae_selection_context *context) {
    const int64_t k = self->k > 0 ? self->k : llround(context->mean_active);
    return k < 1 ? 1 : k;
}

static dmsae_selection_scope scope(dmsae_instance *self) {
    (void)self;
    return DMSAE_SCOPE_ROW;
}

static dmsae_status upper_count(dmsae_instance *self, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    *count = active(self, context);
    return DMSAE_OK;
}

/* Sinks values[at] in a heap of `count` values whose smallest is first. */
static void sink(float *values, int64_t count, int64_t at) {
    const float value = values[at];
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && values[child + 1] < values[child]) child++;
        if (value <= values[child]) break;
        values[at] = values[child];
    }
    values[at] = value;
}

/* The k-th largest of a row, through a heap of its k largest; rows have few candidates more than k. */
static float kth_largest(const float *values, int64_t count, int64_t k, float *heap) {
    memcpy(heap, values, sizeof *heap * (size_t)k);
    for (int64_t i = k / 2 - 1; i >= 0; i--) sink(heap, k, i);
    for (int64_t i = k; i < count; i++)
        if (values[i] > heap[0]) {
            heap[0] = values[i];
            sink(heap, k, 0);
        }
    return heap[0];
}

static dmsae_status select_entries(dmsae_instance *self, const dmsae_selection_context *context,
                                   const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const int64_t k = active(self, context);
    float *heap = malloc(sizeof *heap * (size_t)(k < candidates->columns ? k : candidates->columns));
    if (heap == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    for (int64_t r = 0; r < candidates->rows; r++) {
        const int64_t first = candidates->row_offsets[r], count = candidates->row_offsets[r + 1] - first;
        const float *values = candidates->values + first;
        if (count <= k) {
            memset(selected + first, 1, (size_t)count);
            continue;
        }
        const float least = kth_largest(values, count, k, heap);
        int64_t ties = k;
        for (int64_t i = 0; i < count; i++) ties -= values[i] > least;
        for (int64_t i = 0; i < count; i++)
            selected[first + i] = values[i] > least || (values[i] == least && ties-- > 0);
    }
    free(heap);
    return DMSAE_OK;
}

static const dmsae_sparsity_rule rule = {sizeof rule, 0, scope, upper_count, select_entries};

static uint64_t state_size(dmsae_instance *self, int64_t latent_count) {
    (void)self, (void)latent_count;
    return 0;
}

/* Not called for a state of no bytes. */
static dmsae_status calibrate(dmsae_instance *self, const dmsae_selection_context *context, const dmsae_csr *candidates,
                              const uint8_t *selected, void *state, dmsae_call *call) {
    (void)self, (void)context, (void)candidates, (void)selected, (void)state, (void)call;
    return DMSAE_ERR_UNSUPPORTED;
}
static dmsae_status merge(dmsae_instance *self, int64_t latent_count, void *state, const void *other, dmsae_call *call) {
    (void)self, (void)latent_count, (void)state, (void)other, (void)call;
    return DMSAE_ERR_UNSUPPORTED;
}

static dmsae_status form(dmsae_instance *self, const dmsae_selection_context *context, const void *state,
                         dmsae_inference_form *form, float *thresholds, int64_t *top_k, dmsae_call *call) {
    (void)state, (void)thresholds;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    *form = DMSAE_INFERENCE_ROW_TOP_K;
    *top_k = active(self, context);
    if (*top_k > context->latent_count) *top_k = context->latent_count;
    return DMSAE_OK;
}

static const dmsae_sparsity_rule_inference inference = {sizeof inference, 1, state_size, calibrate, merge, form};

static const dmsae_parameter_spec k_spec = {
    sizeof k_spec, DMSAE_PARAMETER_INTEGER, "k", "Latents that each token keeps; 0 for the training's k, rounded", "0",
    "latents", 0, 1e9, NULL, 0, 0, 0};
static const dmsae_parameter_spec *const parameters[] = {&k_spec};

static const char *const extensions[] = {DMSAE_SPARSITY_RULE, DMSAE_SPARSITY_RULE_INFERENCE};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SPARSITY_RULE, "topk", "TopK", "1.0.0", "Apache-2.0",
    "Keeps the k largest positive pre-activations of each token",
    extensions, 2, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT, parameters, 1, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 1},
     "plugins": [
        {"id": "topk", "kind": "sparsity-rule", "version": "1.0.0", "license": "Apache-2.0", "description":
          "Keeps the k largest positive pre-activations of each token", "extensions": ["dmsae.sparsity_rule/1",
          "dmsae.sparsity_rule.inference/1"], "flags": ["deterministic", "reentrant"], "parameters": [{"default":
          "0", "description": "Latents that each token keeps; 0 for the training's k, rounded", "key": "k",
          "maximum": 1000000000, "minimum": 0, "type": "integer", "unit": "latents"}]}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index, (void)host;
    dmsae_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        const int is_known = strcmp(given[i].key, "k") == 0;
        char *end;
        errno = 0;
        self->k = strtoll(given[i].value, &end, 10);
        if (is_known && errno == 0 && *end == 0 && end != given[i].value && self->k >= 0 && self->k <= 1000000000) continue;
        if (call->error_capacity > 0)
            snprintf(call->error, call->error_capacity,
                     is_known ? "%s is '%s'; give a whole number, 0 or more" : "unknown parameter '%s' (%s); topk takes k",
                     given[i].key, given[i].value);
        free(self);
        return is_known ? DMSAE_ERR_INVALID_ARGUMENT : DMSAE_ERR_UNKNOWN_PARAMETER;
    }
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    if (strcmp(id, DMSAE_SPARSITY_RULE) == 0) return &rule;
    return strcmp(id, DMSAE_SPARSITY_RULE_INFERENCE) == 0 ? &inference : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
