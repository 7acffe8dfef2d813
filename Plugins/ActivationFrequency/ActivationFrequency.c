/* The baseline that any attribution method has to beat: how often a latent fires, whatever it does to the loss.
 *
 *     frequency[j] = #{t scored : f[t, j] > 0} / #{t scored}
 *
 * and beside it the mean of its activation over the scored tokens, (Σ_t f[t, j]) / #{t scored}, silent ones as 0.
 * Counts are integers; sums of activations are in fixed point, so that a pass cut into shards has the same bits.
 */
#define DMSAE_ABI_MINOR_REQUIRED 1u /* an older host has no use for a scorer that only accumulates */
#include "dmsae/dmsae.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One for all: there is nothing to set. */
struct dmsae_instance { int unused; };
static dmsae_instance only;

/* The layout of a state: version 1. */
typedef struct {
    int64_t tokens;
    int64_t reserved[7];
    struct {
        int64_t count;
        int64_t units; /* Σ f in units of 2^-20, so each activation to 5e-7; room for a sum of 8e12 */
    } latents[];
} frequency_state;

#define UNITS 0x1p20

static const dmsae_output frequency = {
    sizeof frequency, DMSAE_OUTPUT_LATENT, "frequency", "1", "Share of the scored tokens at which the latent fires",
    DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1};
static const dmsae_output mean_activation = {
    sizeof mean_activation, DMSAE_OUTPUT_LATENT, "mean_activation", "1",
    "Mean activation over the scored tokens, 0 where the latent is silent", DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1};

static uint32_t output_count(dmsae_instance *self) {
    (void)self;
    return 2;
}

static const dmsae_output *output(dmsae_instance *self, uint32_t index) {
    (void)self;
    return index == 0 ? &frequency : index == 1 ? &mean_activation : NULL;
}

static dmsae_status state_size(dmsae_instance *self, const dmsae_scoring_plan *plan, uint64_t *bytes, dmsae_call *call) {
    (void)self, (void)call;
    const frequency_state *state = NULL;
    *bytes = sizeof *state + (uint64_t)plan->latent_count * sizeof state->latents[0];
    return DMSAE_OK;
}

static dmsae_status begin(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, dmsae_call *call) {
    (void)self, (void)plan, (void)state;
    return DMSAE_MUST_UNDERSTAND(call->flags) ? DMSAE_ERR_UNSUPPORTED : DMSAE_OK; /* all zero is empty */
}

static dmsae_status add(frequency_state *state, int64_t latent, int64_t count, int64_t units, dmsae_call *call) {
    state->latents[latent].count += count;
    int64_t *sum = &state->latents[latent].units;
    if (*sum <= INT64_MAX - units) {
        *sum += units;
        return DMSAE_OK;
    }
    if (call->error_capacity > 0)
        snprintf(call->error, call->error_capacity, "the activations of latent %lld add up to more than 8e12",
                 (long long)latent);
    return DMSAE_ERR_FAILED;
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *memory, dmsae_call *call) {
    (void)self, (void)plan;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    frequency_state *state = memory;
    const dmsae_csr *codes = batch->codes;
    for (int64_t t = 0; t < codes->rows; t++) state->tokens += batch->scored[t];
    for (int64_t e = 0; e < codes->count; e++) {
        const double units = (double)codes->values[e] * UNITS;
        const dmsae_status status =
            add(state, codes->column_indices[e], 1, units < 0x1p62 ? llrint(units) : INT64_MAX, call);
        if (status != DMSAE_OK) return status;
    }
    return DMSAE_OK;
}

static dmsae_status merge(dmsae_instance *self, const dmsae_scoring_plan *plan, void *memory, const void *other,
                          dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    frequency_state *state = memory;
    const frequency_state *from = other;
    state->tokens += from->tokens;
    for (int64_t j = 0; j < plan->latent_count; j++) {
        const dmsae_status status = add(state, j, from->latents[j].count, from->latents[j].units, call);
        if (status != DMSAE_OK) return status;
    }
    return DMSAE_OK;
}

static dmsae_status finish(dmsae_instance *self, const dmsae_scoring_plan *plan, const void *memory,
                           double *const *outputs, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const frequency_state *state = memory;
    const double tokens = (double)state->tokens;
    for (int64_t j = 0; j < plan->latent_count; j++) {
        /* Without a token there is no evidence, and no division by zero to say so. */
        outputs[0][j] = state->tokens > 0 ? (double)state->latents[j].count / tokens : (double)NAN;
        outputs[1][j] = state->tokens > 0 ? (double)state->latents[j].units / UNITS / tokens : (double)NAN;
    }
    return DMSAE_OK;
}

static const dmsae_scorer_accumulate scorer = {
    sizeof scorer, 1, output_count, output, state_size, begin, accumulate, merge, finish};

static const char *const extensions[] = {DMSAE_SCORER_ACCUMULATE};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "frequency", "Activation frequency", "1.0.0", "Apache-2.0",
    "Baseline: the share of tokens at which a latent fires",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT | DMSAE_PLUGIN_MERGE_EXACT, NULL, 0, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 1},
     "plugins": [
        {"id": "frequency", "kind": "scorer", "version": "1.0.0", "license": "Apache-2.0", "description":
          "Baseline: the share of tokens at which a latent fires", "extensions": ["dmsae.scorer.accumulate/1"],
          "flags": ["deterministic", "reentrant", "merge-exact"], "parameters": []}]});

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
            snprintf(call->error, call->error_capacity, "unknown parameter '%s'; frequency takes none",
                     parameters[0].key);
        return DMSAE_ERR_UNKNOWN_PARAMETER;
    }
    *out = &only;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { (void)self; }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    return strcmp(id, DMSAE_SCORER_ACCUMULATE) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {
    DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1, descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
