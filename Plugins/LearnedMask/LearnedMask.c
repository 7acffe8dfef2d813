/* Attribution by a learned mask (arXiv:2609.25518): each latent has a logit s_j, a mask keeps as many of them as κ says, and the
 * logits learn to keep those that the loss needs, for all κ at once.
 *
 *     m_j = σ((s_j - t)/T),  t such that Σ_j m_j = κ,  κ uniform in 1 ... N at each step
 *     L(x̂ with m_j·f[t, j] in the place of f[t, j], at all tokens of one sequence) → min over s
 *
 * by Adam (rate, 0.9, 0.999, 1e-8). With ∂_j = ∂L/∂m_j = Σ_t f[t, j]·⟨g_t, W_dec[j]⟩ at the masked point and v = m(1 - m), since
 * t moves with s,
 *
 *     ∂L/∂s_j = (v_j/T)·(∂_j - Σ ∂v / Σ v)
 *
 * A logit is worth nothing by itself, since all may be moved together. So one more takes part, of a latent that never fires, for
 * which ∂ is always 0, and
 *
 *     mattr[j] = s_j - s of the latent that never fires                                          logits of temperature T
 *
 * is positive where the loss would rather keep the latent than one that does nothing: the latent helps. N counts that one and the
 * latents that fired so far; one that fires first at a later step begins where the other is by then, as if it had been silent.
 *
 * Each sequence is a step, one after the other, over as many passes as `steps` takes; a step is a forward and a backward pass.
 */
#define DMSAE_ABI_MINOR_REQUIRED 3u /* dmsae.scorer.passes/1, DMSAE_PLUGIN_SEQUENTIAL */
#include "dmsae/dmsae.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_STEPS 100000

struct dmsae_instance {
    const dmsae_host *host;
    const dmsae_host_grad *grad;
    double rate, temperature;
    int64_t steps;
    uint64_t seed;
};

/* A state, version 1, all of it doubles: steps so far; then of each latent, and last of the one that never fires, the logit and
 * Adam's moments; then whether each latent fired. */
typedef struct { double *steps, *logits, *first, *second, *fired; } mask_state;

static mask_state view(const void *state, const dmsae_scoring_plan *plan) {
    double *all = (double *)(uintptr_t)state;
    const int64_t n = plan->latent_count + 1;
    return (mask_state){all, all + 1, all + 1 + n, all + 1 + 2 * n, all + 1 + 3 * n};
}

static const float *floats(const dmsae_tensor *tensor) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset);
}

static const dmsae_output mattr = {
    sizeof mattr, DMSAE_OUTPUT_LATENT, "mattr", "1",
    "Logit of the learned mask, less that of a latent that never fires; NaN where the latent never fired",
    DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1};

static uint32_t output_count(dmsae_instance *self) {
    (void)self;
    return 1;
}

static const dmsae_output *output(dmsae_instance *self, uint32_t index) {
    (void)self;
    return index == 0 ? &mattr : NULL;
}

static int64_t steps_of(const dmsae_instance *self, const dmsae_scoring_plan *plan) {
    const int64_t budget = DMSAE_HAS(plan, dmsae_scoring_plan, evaluation_budget) ? plan->evaluation_budget : INT64_MAX;
    return budget < self->steps ? budget : self->steps;
}

static dmsae_status pass_count(dmsae_instance *self, const dmsae_scoring_plan *plan, int64_t *count, dmsae_call *call) {
    (void)call;
    const int64_t S = plan->sequence_count > 0 ? plan->sequence_count : 1;
    *count = (steps_of(self, plan) + S - 1) / S;
    if (*count == 0) *count = 1;
    return DMSAE_OK;
}

static dmsae_status state_size(dmsae_instance *self, const dmsae_scoring_plan *plan, uint64_t *bytes, dmsae_call *call) {
    (void)self, (void)call;
    *bytes = sizeof(double) * (1 + 3 * ((uint64_t)plan->latent_count + 1) + (uint64_t)plan->latent_count);
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

/* Uniform in [0, 1), by the seed and the step. */
static double uniform(const dmsae_instance *self, int64_t step) {
    return (double)(mix(mix(self->seed + 0x9e3779b97f4a7c15u) + (uint64_t)step + 1) >> 11) * 0x1p-53;
}

/* Memory of one call; n latents fired so far, and number n is the one that never does. */
typedef struct {
    int64_t n;
    int32_t *latents;  /* [m + 1] their columns, ascending, and m */
    double *masks;     /* [m + 1] by column, m */
    double *effects;   /* [m + 1] by column, ∂ */
    float *rows, *gradient; /* [T, d] */
} workspace;

/* Writes masks of the logits that add up to `kept` of n + 1, by bisection of the threshold. */
static void set_masks(const dmsae_instance *self, const double *logits, double kept, const workspace *work) {
    const double reach = self->temperature * (log((double)(work->n + 1)) + 10);
    double low = logits[work->latents[0]], high = low;
    for (int64_t k = 0; k <= work->n; k++) {
        low = fmin(low, logits[work->latents[k]]);
        high = fmax(high, logits[work->latents[k]]);
    }
    low -= reach;
    high += reach;
    for (int step = 0; step < 60; step++) {
        const double threshold = 0.5 * (low + high);
        double sum = 0;
        for (int64_t k = 0; k <= work->n; k++) {
            const int32_t j = work->latents[k];
            work->masks[j] = 1 / (1 + exp((threshold - logits[j]) / self->temperature));
            sum += work->masks[j];
        }
        *(sum > kept ? &low : &high) = threshold;
    }
}

/* Writes x̂ of a sequence as the mask leaves it. */
static void mask(const dmsae_scorer_batch *batch, int64_t s, const workspace *work) {
    const int64_t d = batch->decoder->shape[1];
    const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1];
    memcpy(work->rows, floats(batch->reconstruction) + first * d, sizeof(float) * (size_t)((end - first) * d));
    for (int64_t t = first; t < end; t++)
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            const int64_t j = batch->codes->column_indices[e];
            if (j >= batch->spliced_width) continue;
            const double away = (1 - work->masks[j]) * (double)batch->codes->values[e];
            const float *w = floats(batch->decoder) + j * d;
            float *row = work->rows + (t - first) * d;
            for (int64_t i = 0; i < d; i++) row[i] -= (float)(away * (double)w[i]);
        }
}

/* Writes ∂ of the mean loss of a token, from the gradient at the masked point. */
static void find_effects(const dmsae_scorer_batch *batch, int64_t s, const workspace *work) {
    const int64_t d = batch->decoder->shape[1];
    const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1];
    for (int64_t k = 0; k <= work->n; k++) work->effects[work->latents[k]] = 0;
    for (int64_t t = first; t < end; t++)
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            const int64_t j = batch->codes->column_indices[e];
            if (j >= batch->spliced_width) continue;
            const float *w = floats(batch->decoder) + j * d, *g = work->gradient + (t - first) * d;
            double dot = 0;
            for (int64_t i = 0; i < d; i++) dot += (double)g[i] * (double)w[i];
            work->effects[j] += (double)batch->codes->values[e] * dot / (double)(end - first);
        }
}

/* One step of Adam on the logits, from masks and effects. */
static void learn(const dmsae_instance *self, const mask_state *state, const workspace *work) {
    double weighted = 0, weight = 0;
    for (int64_t k = 0; k <= work->n; k++) {
        const double m = work->masks[work->latents[k]], v = m * (1 - m);
        weighted += work->effects[work->latents[k]] * v;
        weight += v;
    }
    const double mean = weight > 0 ? weighted / weight : 0;
    const double number = ++*state->steps;
    const double first_share = 1 - pow(0.9, number), second_share = 1 - pow(0.999, number);
    for (int64_t k = 0; k <= work->n; k++) {
        const int32_t j = work->latents[k];
        const double m = work->masks[j], slope = m * (1 - m) / self->temperature * (work->effects[j] - mean);
        state->first[j] = 0.9 * state->first[j] + 0.1 * slope;
        state->second[j] = 0.999 * state->second[j] + 0.001 * slope * slope;
        state->logits[j] -= self->rate * (state->first[j] / first_share) / (sqrt(state->second[j] / second_share) + 1e-8);
    }
}

/* Lets those take part that fire in a sequence for the first time, and lists all that fired so far. */
static void admit(const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch, int64_t s, const mask_state *state,
                  workspace *work) {
    const int64_t m = plan->latent_count;
    for (int64_t e = batch->codes->row_offsets[batch->sequence_offsets[s]];
         e < batch->codes->row_offsets[batch->sequence_offsets[s + 1]]; e++) {
        const int64_t j = batch->codes->column_indices[e];
        if (j >= batch->spliced_width || state->fired[j] != 0) continue;
        state->fired[j] = 1;
        state->logits[j] = state->logits[m];
        state->first[j] = state->first[m];
        state->second[j] = state->second[m];
    }
    work->n = 0;
    for (int64_t j = 0; j < m; j++)
        if (state->fired[j] != 0) work->latents[work->n++] = (int32_t)j;
    work->latents[work->n] = (int32_t)m;
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *memory, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const int64_t steps = steps_of(self, plan);
    if (steps == 0) {
        if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, "a budget of 0 forwards lets it learn nothing");
        return DMSAE_BUDGET_EXHAUSTED;
    }
    int64_t longest = 0;
    for (int64_t s = 0; s < batch->sequence_count; s++) {
        const int64_t length = batch->sequence_offsets[s + 1] - batch->sequence_offsets[s];
        if (length > longest) longest = length;
    }
    const size_t m = (size_t)plan->latent_count, size = (size_t)longest * (size_t)plan->dimension;
    workspace work = {.latents = malloc(sizeof(int32_t) * (m + 1)),
                      .masks = malloc(sizeof(double) * 2 * (m + 1)),
                      .rows = malloc(sizeof(float) * 2 * size + 1)};
    dmsae_status status = DMSAE_ERR_OUT_OF_MEMORY;
    if (work.latents != NULL && work.masks != NULL && work.rows != NULL) {
        const mask_state state = view(memory, plan);
        work.effects = work.masks + m + 1;
        work.gradient = work.rows + size;
        status = DMSAE_OK;
        for (int64_t s = 0; s < batch->sequence_count && status == DMSAE_OK; s++) {
            admit(plan, batch, s, &state, &work);
            if (work.n == 0 || *state.steps >= (double)steps) continue;
            const int64_t place = batch->first_sequence + s + plan->pass * plan->sequence_count;
            set_masks(self, state.logits, 1 + uniform(self, place) * (double)work.n, &work);
            mask(batch, s, &work);
            dmsae_gradient_point point = {.sequence = s, .rows = work.rows, .gradient = work.gradient};
            status = self->grad->at(self->host, batch, &point, 1, call);
            if (status != DMSAE_OK) break;
            find_effects(batch, s, &work);
            learn(self, &state, &work);
        }
    }
    free(work.latents);
    free(work.masks);
    free(work.rows);
    return status;
}

/* Nothing calls it: there is one state. */
static dmsae_status merge(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call) {
    (void)self, (void)plan, (void)state, (void)other;
    if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, "a mask is learned in one piece");
    return DMSAE_ERR_UNSUPPORTED;
}

static dmsae_status finish(dmsae_instance *self, const dmsae_scoring_plan *plan, const void *memory,
                           double *const *results, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const mask_state state = view(memory, plan);
    for (int64_t j = 0; j < plan->latent_count; j++)
        results[0][j] = state.fired[j] != 0 ? state.logits[j] - state.logits[plan->latent_count] : (double)NAN;
    return DMSAE_OK;
}

static const dmsae_scorer_accumulate scorer = {
    sizeof scorer, 1, output_count, output, state_size, begin, accumulate, merge, finish};
static const dmsae_scorer_passes passes = {sizeof passes, 0, pass_count};

static const dmsae_parameter_spec steps = {
    sizeof steps, DMSAE_PARAMETER_INTEGER, "steps", "Steps of learning, a sequence each", "500", "gradients", 1, MOST_STEPS, NULL,
    0, 0, 0};
static const dmsae_parameter_spec rate = {
    sizeof rate, DMSAE_PARAMETER_NUMBER, "rate", "Adam's step", "0.05", NULL, 1e-6, 10, NULL, 0, 0, 0};
static const dmsae_parameter_spec temperature = {
    sizeof temperature, DMSAE_PARAMETER_NUMBER, "temperature", "T: the smaller, the harder the mask", "0.5", NULL, 1e-3, 1000, NULL,
    0, 0, 0};
static const dmsae_parameter_spec seed = {
    sizeof seed, DMSAE_PARAMETER_INTEGER, "seed", "How many are kept at each step", "0", NULL, 0, 9007199254740992.0, NULL, 0, 0,
    0};
static const dmsae_parameter_spec *const parameters[] = {&steps, &rate, &temperature, &seed};

static const char *const extensions[] = {DMSAE_SCORER_ACCUMULATE, DMSAE_SCORER_PASSES};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "mattr", "Learned mask", "1.0.0", "Apache-2.0",
    "How much a learned mask would rather keep the latent than one that does nothing",
    extensions, 2, 0,
    DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_NEEDS_EVALUATION | DMSAE_PLUGIN_SCALE_INVARIANT | DMSAE_PLUGIN_SEQUENTIAL,
    parameters, 4, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 3}, "plugins": [{"description":
     "How much a learned mask would rather keep the latent than one that does nothing", "extensions":
     ["dmsae.scorer.accumulate/1", "dmsae.scorer.passes/1"], "flags": ["deterministic", "needs-evaluation",
     "scale-invariant", "sequential"], "id": "mattr", "kind": "scorer", "license": "Apache-2.0", "parameters":
     [{"default": "500", "description": "Steps of learning, a sequence each", "key": "steps", "maximum": 100000,
     "minimum": 1, "type": "integer", "unit": "gradients"}, {"default": "0.05", "description": "Adam's step", "key":
     "rate", "maximum": 10, "minimum": 0.000001, "type": "number"}, {"default": "0.5", "description":
     "T: the smaller, the harder the mask", "key": "temperature", "maximum": 1000, "minimum": 0.001, "type": "number"},
     {"default": "0", "description": "How many are kept at each step", "key": "seed", "maximum": 9007199254740992,
     "minimum": 0, "type": "integer"}], "version": "1.0.0"}]});

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
    const int is_rate = strcmp(given->key, "rate") == 0, is_steps = strcmp(given->key, "steps") == 0;
    if (is_rate || strcmp(given->key, "temperature") == 0) {
        const double number = strtod(given->value, &end);
        *(is_rate ? &self->rate : &self->temperature) = number;
        const int is_legal = is_rate ? number >= 1e-6 && number <= 10 : number >= 1e-3 && number <= 1000;
        if (errno == 0 && end != given->value && *end == 0 && is_legal) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT,
                      is_rate ? "%s is '%s'; give a number from 1e-6 to 10" : "%s is '%s'; give a number from 0.001 to 1000",
                      given);
    }
    if (!is_steps && strcmp(given->key, "seed") != 0)
        return refuse(call, DMSAE_ERR_UNKNOWN_PARAMETER,
                      "unknown parameter '%s'; mattr takes steps, rate, temperature and seed", given);
    const uint64_t number = strtoull(given->value, &end, 10);
    const int is_whole = errno == 0 && given->value[0] >= '0' && given->value[0] <= '9' && *end == 0;
    if (is_steps) {
        self->steps = (int64_t)number;
        if (is_whole && number >= 1 && number <= MOST_STEPS) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a whole number from 1 to 100000", given);
    }
    self->seed = number;
    if (is_whole && number <= 1ull << 53) return DMSAE_OK;
    return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a whole number from 0 to 2^53", given);
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    struct dmsae_instance made = {
        .host = host, .grad = host->get_extension(host, DMSAE_GRAD), .rate = 0.05, .temperature = 0.5, .steps = 500};
    if (made.grad == NULL) {
        if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, "this host has no %s", DMSAE_GRAD);
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
    return strcmp(id, DMSAE_SCORER_ACCUMULATE) == 0 ? (const void *)&scorer
           : strcmp(id, DMSAE_SCORER_PASSES) == 0   ? (const void *)&passes
                                                    : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
