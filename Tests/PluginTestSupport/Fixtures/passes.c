/* A scorer that looks three times, in order: in pass p it adds p + 1 for every entry, and refuses a batch that is not the next
 * one. With fault=NAME it asks for a number of passes that nobody makes. */
#define DMSAE_ABI_MINOR_REQUIRED 3u
#define ID "passes"
#define SUMMARY "Counts three times"
#ifndef FLAGS
#define FLAGS DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_SEQUENTIAL
#endif
#ifdef ALONE
#define IDS DMSAE_SCORER_PASSES
#else
#define IDS DMSAE_SCORER_ACCUMULATE, DMSAE_SCORER_PASSES
#endif
#define TABLES                                                                                                         \
    if (strcmp(id, DMSAE_SCORER_PASSES) == 0) return &passes;
#include <stdint.h>
#include "dmsae/dmsae.h"
static dmsae_status pass_count(dmsae_instance *self, const dmsae_scoring_plan *plan, int64_t *count, dmsae_call *call);
static const dmsae_scorer_passes passes = {sizeof passes, 0, pass_count};
#include "accumulator.h"

#include <stdio.h>

typedef struct {
    int64_t pass, sequence, counts[];
} passes_state;

static dmsae_status pass_count(dmsae_instance *self, const dmsae_scoring_plan *plan, int64_t *count, dmsae_call *call) {
    (void)call;
    if (plan->pass_count != 1) return DMSAE_ERR_FAILED;
    *count = has(self, "none") ? 0 : has(self, "many") ? 1000001 : 3;
    return DMSAE_OK;
}

static const dmsae_output count = {sizeof count, DMSAE_OUTPUT_LATENT, "count", "1", "Entries", 1, -1, -1};

static uint32_t output_count(dmsae_instance *self) {
    (void)self;
    return 1;
}

static const dmsae_output *output(dmsae_instance *self, uint32_t index) {
    (void)self;
    return index == 0 ? &count : NULL;
}

static dmsae_status state_size(dmsae_instance *self, const dmsae_scoring_plan *plan, uint64_t *bytes, dmsae_call *call) {
    (void)self, (void)call;
    *bytes = sizeof(passes_state) + 8 * (uint64_t)plan->latent_count;
    return DMSAE_OK;
}

static dmsae_status begin(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, dmsae_call *call) {
    (void)self, (void)state, (void)call;
    return plan->pass_count == 3 && plan->pass == 0 ? DMSAE_OK : DMSAE_ERR_FAILED;
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *memory, dmsae_call *call) {
    (void)self;
    passes_state *state = memory;
    if (state->sequence == plan->sequence_count) state->pass++, state->sequence = 0;
    if (plan->pass != state->pass || batch->first_sequence != state->sequence) {
        snprintf(call->error, call->error_capacity, "pass %d, sequence %d after pass %d, sequence %d", (int)plan->pass,
                 (int)batch->first_sequence, (int)state->pass, (int)state->sequence);
        return DMSAE_ERR_FAILED;
    }
    state->sequence += batch->sequence_count;
    for (int64_t e = 0; e < batch->codes->count; e++) state->counts[batch->codes->column_indices[e]] += plan->pass + 1;
    return DMSAE_OK;
}

static dmsae_status merge(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call) {
    (void)self, (void)plan, (void)state, (void)other, (void)call;
    return DMSAE_ERR_FAILED;
}

static dmsae_status finish(dmsae_instance *self, const dmsae_scoring_plan *plan, const void *memory, double *const *results,
                           dmsae_call *call) {
    (void)self, (void)call;
    const passes_state *state = memory;
    if (plan->pass != 3 || state->pass != 2) return DMSAE_ERR_FAILED;
    for (int64_t j = 0; j < plan->latent_count; j++) results[0][j] = (double)state->counts[j];
    return DMSAE_OK;
}
