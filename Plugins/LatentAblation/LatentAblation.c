/* Latent ablation: what the loss becomes when a latent is taken away from a whole sequence.
 *
 *     loss_delta[j, s] = Σ_t loss_t(x̂ with f[u, j] := 0 at every scored u of s) - loss_t(x̂)          nats
 *     ablation[j]      = mean over the sequences of loss_delta[j, s]                                 nats per sequence
 *
 * Positive: the latent helps. Most of the change falls on tokens where the latent itself is silent, so it is a result
 * of (latent, sequence) and not of (latent, token). A sequence in which j never fires has loss_delta 0 and costs
 * nothing. Beside it goes what a gradient says about the same removal, to first order:
 *
 *     first_order[j, s] = Σ_u -f[u, j] · ⟨g_u, W_dec[j]⟩                                             nats
 *
 * With sequences=n each pair of a latent and a sequence where it fires is drawn with probability min(1, n/S), by the
 * seed and the pair alone; and when the host's budget is spent, no more are evaluated. Of the F_j sequences where j
 * fires n_j were evaluated, with mean μ_j and variance v_j (of n_j - 1); then
 *
 *     ablation[j] = (F_j/S)·μ_j,   standard error (F_j/S)·√((1 - n_j/F_j)·v_j/n_j)
 *
 * the finite population's: 0 when all were evaluated, unknown (NaN) when only one of several was.
 */
#define DMSAE_ABI_MINOR_REQUIRED 1u
#include "dmsae/dmsae.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance {
    const dmsae_host *host;
    const dmsae_host_eval *eval;
    int64_t sequences; /* 0: all */
    uint64_t seed;
};

/* A state, version 1: loss_delta [m, S] (NaN where it was not evaluated), first_order [m, S], F [m], n [m]. All of it
 * doubles, the counts too, so that a merge is one sum. */
typedef struct {
    double *loss_delta, *first_order, *fired, *evaluated;
} ablation_state;

static ablation_state view(const void *state, const dmsae_scoring_plan *plan) {
    double *all = (double *)(uintptr_t)state;
    const int64_t m = plan->latent_count, S = plan->sequence_count;
    return (ablation_state){all, all + m * S, all + 2 * m * S, all + 2 * m * S + m};
}

static uint64_t elements(const dmsae_scoring_plan *plan) {
    return 2 * (uint64_t)plan->latent_count * ((uint64_t)plan->sequence_count + 1);
}

static const float *floats(const dmsae_tensor *tensor) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset);
}

static const dmsae_output outputs[] = {
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "ablation", "nats per sequence",
     "Mean over sequences of the loss without the latent less the loss with it", DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "ablation_standard_error", "nats per sequence",
     "Standard error of ablation from drawing sequences; 0 if all were evaluated", 0, 0, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "loss_delta", "nats",
     "Loss of the sequence without the latent less that with it; NaN where it was not evaluated",
     DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "first_order", "nats",
     "The gradient's estimate of loss_delta", DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1}};

static uint32_t output_count(dmsae_instance *self) {
    (void)self;
    return sizeof outputs / sizeof outputs[0];
}

static const dmsae_output *output(dmsae_instance *self, uint32_t index) {
    return index < output_count(self) ? &outputs[index] : NULL;
}

static dmsae_status state_size(dmsae_instance *self, const dmsae_scoring_plan *plan, uint64_t *bytes, dmsae_call *call) {
    (void)self, (void)call;
    *bytes = sizeof(double) * elements(plan);
    return DMSAE_OK;
}

static dmsae_status begin(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, dmsae_call *call) {
    (void)self, (void)plan, (void)state;
    return DMSAE_MUST_UNDERSTAND(call->flags) ? DMSAE_ERR_UNSUPPORTED : DMSAE_OK;
}

/* The output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int is_drawn(const dmsae_instance *self, double p, int64_t latent, int64_t sequence) {
    const uint64_t word =
        mix(mix(mix(self->seed + 0x9e3779b97f4a7c15u) + (uint64_t)latent + 1) + 0x9e3779b97f4a7c15u * ((uint64_t)sequence + 1));
    return (double)(word >> 11) * 0x1p-53 < p;
}

/* Adds the first-order estimates of one sequence and marks in `fires` [m] which latents fire in it. */
static void look(const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch, int64_t s, double *first_order,
                 uint8_t *fires) {
    const dmsae_csr *codes = batch->codes;
    const int64_t d = plan->dimension, column = batch->first_sequence + s;
    const float *decoder = floats(batch->decoder), *gradient = floats(batch->gradient);
    memset(fires, 0, (size_t)plan->latent_count);
    for (int64_t t = batch->sequence_offsets[s]; t < batch->sequence_offsets[s + 1]; t++)
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
            const int64_t j = codes->column_indices[e];
            const float *g = gradient + t * d, *w = decoder + j * d;
            double dot = 0;
            for (int64_t i = 0; i < d; i++) dot += (double)g[i] * (double)w[i];
            first_order[j * plan->sequence_count + column] -= (double)codes->values[e] * dot;
            fires[j] = 1;
        }
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *memory, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const int64_t m = plan->latent_count, S = plan->sequence_count;
    const ablation_state state = view(memory, plan);
    const double p = self->sequences == 0 ? 1 : (double)self->sequences / (double)S; /* 1 and more: all */
    const size_t most = (size_t)(m * batch->sequence_count);
    uint8_t *fires = malloc((size_t)m + 1);
    dmsae_edit *edits = malloc(sizeof *edits * (most + 1));
    dmsae_edit_group *groups = malloc(sizeof *groups * (most + 1));
    int64_t count = 0;
    dmsae_status status = DMSAE_ERR_OUT_OF_MEMORY;
    if (fires == NULL || edits == NULL || groups == NULL) goto done;
    const int64_t room = self->eval->remaining(self->host);
    for (int64_t s = 0; s < batch->sequence_count; s++) {
        look(plan, batch, s, state.first_order, fires);
        for (int64_t j = 0; j < m; j++) {
            if (!fires[j]) continue;
            state.fired[j]++;
            if (count >= room || !is_drawn(self, p, j, batch->first_sequence + s)) {
                state.loss_delta[j * S + batch->first_sequence + s] = (double)NAN;
                continue;
            }
            state.evaluated[j]++;
            edits[count] = (dmsae_edit){.first_token = batch->sequence_offsets[s],
                                        .end_token = batch->sequence_offsets[s + 1],
                                        .latent = (int32_t)j,
                                        .operation = DMSAE_EDIT_SCALE};
            groups[count] = (dmsae_edit_group){.sequence = s, .first_edit = count, .edit_count = 1};
            count++;
        }
    }
    status = self->eval->losses(self->host, batch, groups, count, edits, count, call);
    if (status != DMSAE_OK) goto done;
    for (int64_t i = 0; i < count; i++)
        state.loss_delta[edits[i].latent * S + batch->first_sequence + groups[i].sequence] = groups[i].loss_change;
done:
    free(fires);
    free(edits);
    free(groups);
    return status;
}

/* Every sequence is of one shard, and zero in the others: a sum is exact. */
static dmsae_status merge(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    double *into = state;
    const double *from = other;
    for (uint64_t i = 0; i < elements(plan); i++) into[i] += from[i];
    return DMSAE_OK;
}

static dmsae_status finish(dmsae_instance *self, const dmsae_scoring_plan *plan, const void *memory,
                           double *const *results, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const int64_t m = plan->latent_count, S = plan->sequence_count;
    const ablation_state state = view(memory, plan);
    memcpy(results[2], state.loss_delta, sizeof(double) * (size_t)(m * S));
    memcpy(results[3], state.first_order, sizeof(double) * (size_t)(m * S));
    for (int64_t j = 0; j < m; j++) {
        const double *delta = state.loss_delta + j * S, F = state.fired[j], n = state.evaluated[j];
        double sum = 0, squares = 0;
        for (int64_t s = 0; s < S; s++) sum += isnan(delta[s]) ? 0 : delta[s]; /* silent sequences are 0 */
        const double mean = n > 0 ? sum / n : 0;
        for (int64_t s = 0; s < S; s++)
            if (!isnan(delta[s])) squares += (delta[s] - mean) * (delta[s] - mean);
        squares -= ((double)S - F) * mean * mean; /* they were counted, and are not of the sample */
        const double share = F / (double)S;
        results[0][j] = F == 0 ? 0 : n == 0 ? (double)NAN : share * mean;
        results[1][j] = n == F ? 0 : n < 2 ? (double)NAN : share * sqrt((1 - n / F) * fmax(squares, 0) / (n - 1) / n);
    }
    return DMSAE_OK;
}

static const dmsae_scorer_accumulate scorer = {
    sizeof scorer, 1, output_count, output, state_size, begin, accumulate, merge, finish};

static const dmsae_parameter_spec sequences = {
    sizeof sequences, DMSAE_PARAMETER_INTEGER, "sequences",
    "Sequences drawn for each latent, on average; 0 evaluates all in which it fires", "0", "sequences", 0, 1e9,
    NULL, 0, 0, 0};
static const dmsae_parameter_spec seed = {
    sizeof seed, DMSAE_PARAMETER_INTEGER, "seed", "Which sequences are drawn", "0", NULL, 0, 9007199254740992.0, NULL, 0,
    0, 0};
static const dmsae_parameter_spec *const parameters[] = {&sequences, &seed};

static const char *const extensions[] = {DMSAE_SCORER_ACCUMULATE};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "ablation", "Latent ablation", "1.0.0", "Apache-2.0",
    "Rise of the loss when the latent is removed from the whole sequence",
    extensions, 1, 0,
    DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_NEEDS_GRADIENT | DMSAE_PLUGIN_NEEDS_EVALUATION | DMSAE_PLUGIN_SCALE_INVARIANT,
    parameters, 2, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 1},
     "plugins": [
        {"id": "ablation", "kind": "scorer", "version": "1.0.0", "license": "Apache-2.0", "description":
          "Rise of the loss when the latent is removed from the whole sequence", "extensions": [
          "dmsae.scorer.accumulate/1"], "flags": ["deterministic", "needs-gradient", "needs-evaluation",
          "scale-invariant"], "parameters": [{"default": "0", "description":
          "Sequences drawn for each latent, on average; 0 evaluates all in which it fires", "key": "sequences",
          "maximum": 1000000000, "minimum": 0, "type": "integer", "unit": "sequences"}, {"default": "0",
          "description": "Which sequences are drawn", "key": "seed", "maximum": 9007199254740992, "minimum": 0,
          "type": "integer"}]}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static int whole(const char *text, uint64_t most, uint64_t *value) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return 0;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == 0 && *value <= most;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    struct dmsae_instance made = {host, host->get_extension(host, DMSAE_EVAL), 0, 0};
    if (made.eval == NULL) {
        if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, "this host has no %s", DMSAE_EVAL);
        return DMSAE_ERR_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < count; i++) {
        const int is_seed = strcmp(given[i].key, "seed") == 0;
        if (!is_seed && strcmp(given[i].key, "sequences") != 0) {
            if (call->error_capacity > 0)
                snprintf(call->error, call->error_capacity, "unknown parameter '%s'; ablation takes sequences and seed",
                         given[i].key);
            return DMSAE_ERR_UNKNOWN_PARAMETER;
        }
        uint64_t value;
        if (!whole(given[i].value, is_seed ? 1ull << 53 : 1000000000ull, &value)) {
            if (call->error_capacity > 0)
                snprintf(call->error, call->error_capacity, "%s is '%s'; give a whole number, 0 or more", given[i].key,
                         given[i].value);
            return DMSAE_ERR_INVALID_ARGUMENT;
        }
        if (is_seed) made.seed = value;
        else made.sequences = (int64_t)value;
    }
    dmsae_instance *self = malloc(sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    *self = made;
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    return strcmp(id, DMSAE_SCORER_ACCUMULATE) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
