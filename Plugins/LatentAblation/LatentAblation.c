/* Latent ablation: what the loss becomes when a latent is taken away.
 *
 *   at=sequence   y[j, s] = Σ_t loss_t(x̂ with f[u, j] := b at every scored u of s) - loss_t(x̂)             nats
 *   at=token      y[j, s] = Σ_u Σ_t loss_t(x̂ with f[u, j] := b at u alone) - loss_t(x̂),  u where j fires   nats
 *
 *     ablation[j] = mean over the S sequences of y[j, s]                                         nats per sequence
 *
 * b is 0, or with baseline=mean the mean of j's activation over the scored tokens of the pass. Positive: the latent
 * helps. Most of the change falls on tokens where the latent itself is silent, so it is a result of (latent, sequence)
 * and not of (latent, token). With b = 0 a sequence in which j never fires has y = 0 and costs nothing; with the mean
 * it has not, and at=sequence asks about every sequence. Beside y goes what a gradient says of the same change:
 *
 *     first_order[j, s] = Σ_u (b - f[u, j]) · ⟨g_u, W_dec[j]⟩                                                 nats
 *
 * With draws=n, or when the host's budget is less than everything, each sequence (at=token: token) is drawn with
 * probability π = min(1, n·x/Σx), x the latent's activation in it (baseline=mean, at=sequence: x = 1), by the seed and
 * its place in the pass alone: where it fires most, most often. With e = 1/π of what was drawn and the sums over it
 *
 *     ablation[j] = (Σx/S) · R,  R = Σ e·y / Σ e·x        standard error  √(n/(n-1) · Σ (1-π)/π² · (y - R·x)²) / S
 *
 * the ratio estimate under Poisson sampling (Särndal, Swensson, Wretman, Model Assisted Survey Sampling, 7.3): where y
 * goes with x it varies far less than Σ e·y, and its bias is of order 1/n. The error is 0 when everything was
 * evaluated, unknown (NaN) when fewer than two draws were left to chance. Uniform draws were tried first: most of them
 * fell on sequences where the latent hardly fires.
 */
#define DMSAE_ABI_MINOR_REQUIRED 1u /* dmsae.means/1 of 0.2 is asked for when it is needed */
#include "dmsae/dmsae.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance {
    const dmsae_host *host;
    const dmsae_host_eval *eval;
    const dmsae_host_means *means; /* null on a host of 0.1 */
    double draws;                  /* 0: all */
    uint64_t seed;
    int at_token, to_mean;
};

/* A state, version 2, all of it doubles, so that a merge is one sum: [m, S] sums of e·y, e·x, x, and the first-order
 * estimates; then of each latent Σ c·y², Σ c·x·y and Σ c·x² with c = (1-π)/π², and how many draws had π < 1. */
typedef struct {
    double *ey, *ex, *x, *first_order, *cyy, *cxy, *cxx, *uncertain;
} ablation_state;

static ablation_state view(const void *state, const dmsae_scoring_plan *plan) {
    double *all = (double *)(uintptr_t)state;
    const int64_t m = plan->latent_count, pairs = m * plan->sequence_count;
    double *of_latents = all + 4 * pairs;
    return (ablation_state){all,        all + pairs,    all + 2 * pairs,    all + 3 * pairs,
                            of_latents, of_latents + m, of_latents + 2 * m, of_latents + 3 * m};
}

static uint64_t elements(const dmsae_scoring_plan *plan) {
    return 4 * (uint64_t)plan->latent_count * ((uint64_t)plan->sequence_count + 1);
}

static const float *floats(const dmsae_tensor *tensor) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset);
}

static const dmsae_output outputs[] = {
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "ablation", "nats per sequence",
     "Mean over sequences of the loss without the latent less the loss with it", DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "ablation_standard_error", "nats per sequence",
     "Standard error of ablation from drawing; 0 if all was evaluated", 0, 0, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "loss_delta", "nats",
     "Loss of the sequence without the latent less that with it; NaN where it was not evaluated",
     DMSAE_OUTPUT_HIGHER_IS_BETTER | DMSAE_OUTPUT_TERMS, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "first_order", "nats",
     "The gradient's estimate of loss_delta", DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "expansion", "1",
     "How many like it an evaluated pair stands for; 0 where it was not evaluated", DMSAE_OUTPUT_EXPANSION, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "size", "1",
     "What pairs were drawn in proportion to: the latent's activation in the sequence, or 1", DMSAE_OUTPUT_SIZE, -1, -1}};

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

/* Uniform in [0, 1), by the seed, the latent and the place of a sequence or token in the pass. */
static double uniform(const dmsae_instance *self, int64_t latent, int64_t place) {
    const uint64_t word =
        mix(mix(mix(self->seed + 0x9e3779b97f4a7c15u) + (uint64_t)latent + 1) + 0x9e3779b97f4a7c15u * ((uint64_t)place + 1));
    return (double)(word >> 11) * 0x1p-53;
}

/* What is drawn in one batch, and the memory of one call. */
typedef struct {
    double *means;    /* [m] b where to_mean; and n/Σx is drawn from them */
    double *activity; /* [m] Σ f of one sequence */
    double *sum;      /* [d] Σ g of one sequence */
    double rate;      /* n; 0: all */
    double scored;    /* scored tokens of the pass */
    int64_t count, room, capacity;
    dmsae_edit *edits;
    dmsae_edit_group *groups;
    double *probability, *size;
} sample;

/* Draws a sequence or token of latent j, `size` of `total`, and notes its edit. 0 without memory. */
static int draw(const dmsae_instance *self, sample *draws, int64_t j, int64_t s, int64_t place, int64_t first, int64_t end,
                double size, double total) {
    const double p = draws->rate > 0 && draws->rate * size < total ? draws->rate * size / total : 1;
    if (draws->count >= draws->room || !(uniform(self, j, place) < p)) return 1;
    if (draws->count == draws->capacity) {
        const size_t capacity = 2 * (size_t)draws->capacity + 1024;
        void *edits = realloc(draws->edits, capacity * sizeof *draws->edits);
        if (edits != NULL) draws->edits = edits;
        void *groups = realloc(draws->groups, capacity * sizeof *draws->groups);
        if (groups != NULL) draws->groups = groups;
        void *probability = realloc(draws->probability, capacity * sizeof *draws->probability);
        if (probability != NULL) draws->probability = probability;
        void *sizes = realloc(draws->size, capacity * sizeof *draws->size);
        if (sizes != NULL) draws->size = sizes;
        if (edits == NULL || groups == NULL || probability == NULL || sizes == NULL) return 0;
        draws->capacity = (int64_t)capacity;
    }
    const int64_t i = draws->count++;
    draws->edits[i] = (dmsae_edit){.first_token = first,
                                   .end_token = end,
                                   .latent = (int32_t)j,
                                   .operation = self->to_mean ? DMSAE_EDIT_SET : DMSAE_EDIT_SCALE,
                                   .value = self->to_mean ? (float)draws->means[j] : 0};
    draws->groups[i] = (dmsae_edit_group){.sequence = s, .first_edit = i, .edit_count = 1};
    draws->probability[i] = p;
    draws->size[i] = size;
    return 1;
}

/* Adds sizes and first-order estimates of one sequence, and draws from it. 0 without memory. */
static int look(const dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch, int64_t s,
                const ablation_state *state, sample *draws) {
    const dmsae_csr *codes = batch->codes;
    const int64_t m = plan->latent_count, S = plan->sequence_count, d = plan->dimension;
    const int64_t column = batch->first_sequence + s;
    const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1];
    const float *decoder = floats(batch->decoder), *gradient = floats(batch->gradient);
    memset(draws->activity, 0, sizeof(double) * (size_t)m);
    memset(draws->sum, 0, sizeof(double) * (size_t)d);
    for (int64_t t = first; t < end; t++) {
        const float *g = gradient + t * d;
        if (self->to_mean && !self->at_token && batch->scored[t])
            for (int64_t i = 0; i < d; i++) draws->sum[i] += (double)g[i];
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
            const int64_t j = codes->column_indices[e];
            const float *w = decoder + j * d;
            const double a = (double)codes->values[e], shift = self->to_mean && self->at_token ? draws->means[j] - a : -a;
            double dot = 0;
            for (int64_t i = 0; i < d; i++) dot += (double)g[i] * (double)w[i];
            state->first_order[j * S + column] += shift * dot;
            draws->activity[j] += a;
            if (self->at_token && !draw(self, draws, j, s, batch->first_token + t, t, t + 1, a, draws->means[j] * draws->scored))
                return 0;
        }
    }
    for (int64_t j = 0; j < m; j++) {
        double size = draws->activity[j], total = draws->means[j] * draws->scored;
        if (self->to_mean && !self->at_token) {
            if (!(draws->means[j] > 0)) continue;
            const float *w = decoder + j * d;
            double dot = 0;
            for (int64_t i = 0; i < d; i++) dot += draws->sum[i] * (double)w[i];
            state->first_order[j * S + column] += draws->means[j] * dot;
            size = 1;
            total = (double)S;
        }
        state->x[j * S + column] = size;
        if (size > 0 && !self->at_token && !draw(self, draws, j, s, column, first, end, size, total)) return 0;
    }
    return 1;
}

/* What the host knows of the whole pass, where it is needed: the means, and how much the budget lets be drawn. */
static dmsae_status prepare(const dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                            sample *draws, dmsae_call *call) {
    const int64_t budget =
        DMSAE_HAS(plan, dmsae_scoring_plan, evaluation_budget) ? plan->evaluation_budget : INT64_MAX;
    draws->rate = self->draws;
    draws->room = self->eval->remaining(self->host);
    if (!self->to_mean && self->draws == 0 && budget == INT64_MAX) return DMSAE_OK;
    if (self->means == NULL) {
        if (call->error_capacity > 0)
            snprintf(call->error, call->error_capacity, "this host has no %s, which draws and baseline=mean need", DMSAE_MEANS);
        return DMSAE_ERR_UNSUPPORTED;
    }
    int64_t scored = 0;
    const dmsae_status status = self->means->activations(self->host, batch, draws->means, &scored, call);
    if (status != DMSAE_OK) return status;
    draws->scored = (double)scored;
    int64_t active = 0;
    for (int64_t j = 0; j < plan->latent_count; j++) active += draws->means[j] > 0;
    const double share = active > 0 ? (double)budget / (double)active : 0;
    if (budget != INT64_MAX && (draws->rate == 0 || share < draws->rate)) draws->rate = share;
    return DMSAE_OK;
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *memory, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const size_t m = (size_t)plan->latent_count, d = (size_t)plan->dimension;
    const int64_t S = plan->sequence_count;
    const ablation_state state = view(memory, plan);
    double *numbers = calloc(2 * m + d + 1, sizeof *numbers);
    sample draws = {.means = numbers, .activity = numbers + m, .sum = numbers + 2 * m};
    dmsae_status status = numbers == NULL ? DMSAE_ERR_OUT_OF_MEMORY : prepare(self, plan, batch, &draws, call);
    if (status != DMSAE_OK) goto done;
    status = DMSAE_ERR_OUT_OF_MEMORY;
    for (int64_t s = 0; s < batch->sequence_count; s++)
        if (!look(self, plan, batch, s, &state, &draws)) goto done;
    status = DMSAE_OK;
    if (draws.count > 0)
        status = self->eval->losses(self->host, batch, draws.groups, draws.count, draws.edits, draws.count, call);
    if (status != DMSAE_OK) goto done;
    for (int64_t i = 0; i < draws.count; i++) {
        const int64_t j = draws.edits[i].latent, pair = j * S + batch->first_sequence + draws.groups[i].sequence;
        const double y = draws.groups[i].loss_change, x = draws.size[i], p = draws.probability[i];
        const double c = (1 - p) / (p * p);
        state.ey[pair] += y / p;
        state.ex[pair] += x / p;
        state.cyy[j] += c * y * y;
        state.cxy[j] += c * x * y;
        state.cxx[j] += c * x * x;
        state.uncertain[j] += p < 1;
    }
done:
    free(numbers);
    free(draws.edits);
    free(draws.groups);
    free(draws.probability);
    free(draws.size);
    return status;
}

/* Every sequence is of one shard, and zero in the others: sums of pairs are exact. */
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
    memcpy(results[3], state.first_order, sizeof(double) * (size_t)(m * S));
    memcpy(results[5], state.x, sizeof(double) * (size_t)(m * S));
    for (int64_t j = 0; j < m; j++) {
        double x = 0, ex = 0, ey = 0;
        int whole = 1;
        for (int64_t i = j * S; i < (j + 1) * S; i++) {
            x += state.x[i];
            ex += state.ex[i];
            ey += state.ey[i];
            whole &= state.ex[i] == state.x[i];
            results[4][i] = state.ex[i] > 0 ? state.ex[i] / state.x[i] : 0;
            results[2][i] = state.ex[i] > 0 ? state.ey[i] * (state.x[i] / state.ex[i]) : state.x[i] > 0 ? (double)NAN : 0;
        }
        const double ratio = ex > 0 ? ey / ex : 0, n = state.uncertain[j];
        const double squares = state.cyy[j] - 2 * ratio * state.cxy[j] + ratio * ratio * state.cxx[j];
        results[0][j] = x == 0 ? 0 : whole ? ey / (double)S : ex > 0 ? x / (double)S * ratio : (double)NAN;
        results[1][j] = whole ? 0 : n < 2 ? (double)NAN : sqrt(n / (n - 1) * fmax(squares, 0)) / (double)S;
    }
    return DMSAE_OK;
}

static const dmsae_scorer_accumulate scorer = {
    sizeof scorer, 2, output_count, output, state_size, begin, accumulate, merge, finish};

static const char *const places[] = {"sequence", "token"}, *const baselines[] = {"zero", "mean"};
static const dmsae_parameter_spec at = {
    sizeof at, DMSAE_PARAMETER_CHOICE, "at", "Removed from the whole sequence, or from one token at a time", "sequence", NULL,
    0, 0, places, 2, 0, 0};
static const dmsae_parameter_spec baseline = {
    sizeof baseline, DMSAE_PARAMETER_CHOICE, "baseline", "What the activation becomes: zero, or its mean over the pass",
    "zero", NULL, 0, 0, baselines, 2, 0, 0};
static const dmsae_parameter_spec draws = {
    sizeof draws, DMSAE_PARAMETER_NUMBER, "draws",
    "Sequences (at=token: tokens) drawn for each latent, on average, where it fires most; 0 evaluates all", "0", NULL, 0, 1e9,
    NULL, 0, 0, 0};
static const dmsae_parameter_spec seed = {
    sizeof seed, DMSAE_PARAMETER_INTEGER, "seed", "Which are drawn", "0", NULL, 0, 9007199254740992.0, NULL, 0, 0, 0};
static const dmsae_parameter_spec *const parameters[] = {&at, &baseline, &draws, &seed};

static const char *const extensions[] = {DMSAE_SCORER_ACCUMULATE};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "ablation", "Latent ablation", "2.0.0", "Apache-2.0",
    "Rise of the loss when the latent is removed, from whole sequences or token by token",
    extensions, 1, 0,
    DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_NEEDS_GRADIENT | DMSAE_PLUGIN_NEEDS_EVALUATION | DMSAE_PLUGIN_SCALE_INVARIANT,
    parameters, 4, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 1}, "plugins": [{"description":
     "Rise of the loss when the latent is removed, from whole sequences or token by token", "extensions":
     ["dmsae.scorer.accumulate/1"], "flags": ["deterministic", "needs-gradient", "needs-evaluation",
     "scale-invariant"], "id": "ablation", "kind": "scorer", "license": "Apache-2.0", "parameters": [{"choices":
     ["sequence", "token"], "default": "sequence", "description":
     "Removed from the whole sequence, or from one token at a time", "key": "at", "type": "choice"}, {"choices":
     ["zero", "mean"], "default": "zero", "description":
     "What the activation becomes: zero, or its mean over the pass", "key": "baseline", "type": "choice"},
     {"default": "0", "description":
     "Sequences (at=token: tokens) drawn for each latent, on average, where it fires most; 0 evaluates all", "key":
     "draws", "maximum": 1000000000, "minimum": 0, "type": "number"}, {"default": "0", "description":
     "Which are drawn", "key": "seed", "maximum": 9007199254740992, "minimum": 0, "type": "integer"}], "version":
     "2.0.0"}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status refuse(dmsae_call *call, dmsae_status status, const char *format, const dmsae_parameter *given) {
    if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, format, given->key, given->value);
    return status;
}

/* Reads a setting. */
static dmsae_status set(dmsae_instance *self, const dmsae_parameter *given, dmsae_call *call) {
    char *end = NULL;
    errno = 0;
    if (strcmp(given->key, "at") == 0) {
        self->at_token = strcmp(given->value, places[1]) == 0;
        if (self->at_token || strcmp(given->value, places[0]) == 0) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give sequence or token", given);
    }
    if (strcmp(given->key, "baseline") == 0) {
        self->to_mean = strcmp(given->value, baselines[1]) == 0;
        if (self->to_mean || strcmp(given->value, baselines[0]) == 0) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give zero or mean", given);
    }
    if (strcmp(given->key, "draws") == 0) {
        self->draws = strtod(given->value, &end);
        if (errno == 0 && end != given->value && *end == 0 && self->draws >= 0 && self->draws <= 1e9) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a number from 0 to 1e9", given);
    }
    if (strcmp(given->key, "seed") == 0) {
        self->seed = strtoull(given->value, &end, 10);
        if (errno == 0 && given->value[0] >= '0' && given->value[0] <= '9' && *end == 0 && self->seed <= 1ull << 53)
            return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a whole number, 0 or more", given);
    }
    return refuse(call, DMSAE_ERR_UNKNOWN_PARAMETER, "unknown parameter '%s'; ablation takes at, baseline, draws and seed",
                  given);
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    struct dmsae_instance made = {
        .host = host, .eval = host->get_extension(host, DMSAE_EVAL), .means = host->get_extension(host, DMSAE_MEANS)};
    if (made.eval == NULL) {
        if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, "this host has no %s", DMSAE_EVAL);
        return DMSAE_ERR_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < count; i++) {
        const dmsae_status status = set(&made, &given[i], call);
        if (status != DMSAE_OK) return status;
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
