/* Expected gradients (Erion, Janizek, Sturmfels, Lundberg, Lee, arXiv:1906.10670): integrated gradients whose baseline is not one
 * point but what other tokens do. In each of n draws of a sequence s its latents move by a number of scored tokens, around, so
 * that each scored token t has another one u for its baseline, and α is uniform in [0, 1):
 *
 *     r = x̂ with r_t = x̂_t - (1 - α) Σ_l (f[t, l] - f[u, l]) W_dec[l]
 *     y[j, s] = mean over draws of -Σ_t (f[t, j] - f[u, j]) · ⟨g_t(r), W_dec[j]⟩                            nats
 *     expected_gradients[j] = mean over the S sequences of y[j, s]                                         nats per sequence
 *
 * Over all draws the y of a sequence add up to what its loss rises when its latents move. Tokens where j is silent count: there
 * its baseline is taken away again. A latent that is the same at all tokens scores nothing. Positive: the latent helps. A draw is
 * one forward and one backward pass; the standard error is that of drawing. (Baselines drawn for each token by itself were tried
 * first: they scatter more, and in a few draws a latent that fires at two tokens could have the other sign.)
 */
#define DMSAE_ABI_MINOR_REQUIRED 1u
#include "dmsae/dmsae.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_DRAWS 4096
#define AT_ONCE 8 /* draws in one question */

struct dmsae_instance {
    const dmsae_host *host;
    const dmsae_host_grad *grad;
    const dmsae_host_cancel *cancel; /* or null */
    int64_t draws;
    uint64_t seed;
};

/* A state, version 1, all of it doubles: of each latent Σ_s y[j, s], then Σ_s of the variance that drawing gives it. Not the y
 * themselves: of a latent that fires at nearly all tokens of a sequence they have either sign. */
static uint64_t elements(const dmsae_scoring_plan *plan) { return 2 * (uint64_t)plan->latent_count; }

static const float *floats(const dmsae_tensor *tensor) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset);
}

static const dmsae_output outputs[] = {
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "expected_gradients", "nats per sequence",
     "Mean over sequences of the change of the loss on the way to other tokens' activations", DMSAE_OUTPUT_HIGHER_IS_BETTER, -1,
     -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "expected_gradients_standard_error", "nats per sequence",
     "Standard error of expected_gradients from drawing", 0, 0, -1}};

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

/* Uniform in [0, 1), by the seed, the draw, which of its two numbers it is, and the place of a sequence in the pass. */
static double uniform(const dmsae_instance *self, int64_t draw, int which, int64_t place) {
    const uint64_t word = mix(mix(mix(self->seed + 0x9e3779b97f4a7c15u) + 2 * (uint64_t)draw + (uint64_t)which + 1) +
                              0x9e3779b97f4a7c15u * ((uint64_t)place + 1));
    return (double)(word >> 11) * 0x1p-53;
}

/* Memory of one call, for one sequence of T tokens. */
typedef struct {
    double *made;                 /* [T, d] Σ_l f[t, l] W_dec[l] */
    float *rows, *gradient;       /* [AT_ONCE, T, d] */
    int64_t *scored, *baseline;   /* [T] tokens that are scored; [AT_ONCE, T] u, counted in the batch */
    double *value, *mean, *squares; /* [m] of one draw; over the draws so far, as Welford has it */
} workspace;

static double dot(const float *x, const float *y, int64_t d) {
    double sum = 0;
    for (int64_t i = 0; i < d; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

/* Writes what the latents of each token make of x̂. */
static void make(const dmsae_scorer_batch *batch, int64_t s, const workspace *work) {
    const int64_t d = batch->decoder->shape[1];
    const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1];
    memset(work->made, 0, sizeof(double) * (size_t)((end - first) * d));
    for (int64_t t = first; t < end; t++)
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            const float *w = floats(batch->decoder) + batch->codes->column_indices[e] * d;
            for (int64_t i = 0; i < d; i++) work->made[(t - first) * d + i] += (double)batch->codes->values[e] * (double)w[i];
        }
}

/* Writes the reconstruction of a draw, which is number `at` of its question. */
static void draw(const dmsae_instance *self, const dmsae_scorer_batch *batch, int64_t s, int64_t number, int64_t at,
                 int64_t scored_count, const workspace *work) {
    const int64_t d = batch->decoder->shape[1];
    const int64_t first = batch->sequence_offsets[s], T = batch->sequence_offsets[s + 1] - first;
    float *rows = work->rows + at * T * d;
    const double away = 1 - uniform(self, number, 0, batch->first_sequence + s);
    const int64_t places =
        1 + (int64_t)(uniform(self, number, 1, batch->first_sequence + s) * (double)(scored_count - 1));
    memcpy(rows, floats(batch->reconstruction) + first * d, sizeof *rows * (size_t)(T * d));
    for (int64_t k = 0; k < scored_count; k++) {
        const int64_t t = work->scored[k], u = work->scored[(k + places) % scored_count];
        work->baseline[at * T + t - first] = u;
        const double *own = work->made + (t - first) * d, *other = work->made + (u - first) * d;
        for (int64_t i = 0; i < d; i++) rows[(t - first) * d + i] -= (float)(away * (own[i] - other[i]));
    }
}

/* Takes the values of a draw into mean and squares. */
static void take(const dmsae_scorer_batch *batch, int64_t s, int64_t number, int64_t at, int64_t scored_count,
                 const workspace *work) {
    const dmsae_csr *codes = batch->codes;
    const int64_t d = batch->decoder->shape[1], m = codes->columns;
    const int64_t first = batch->sequence_offsets[s], T = batch->sequence_offsets[s + 1] - first;
    const float *decoder = floats(batch->decoder);
    memset(work->value, 0, sizeof(double) * (size_t)m);
    for (int64_t k = 0; k < scored_count; k++) {
        const int64_t t = work->scored[k], u = work->baseline[at * T + t - first];
        const float *g = work->gradient + (at * T + t - first) * d;
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++)
            work->value[codes->column_indices[e]] -=
                (double)codes->values[e] * dot(g, decoder + codes->column_indices[e] * d, d);
        for (int64_t e = codes->row_offsets[u]; e < codes->row_offsets[u + 1]; e++)
            work->value[codes->column_indices[e]] +=
                (double)codes->values[e] * dot(g, decoder + codes->column_indices[e] * d, d);
    }
    for (int64_t j = 0; j < m; j++) {
        const double away = work->value[j] - work->mean[j];
        work->mean[j] += away / (double)(number + 1);
        work->squares[j] += away * (work->value[j] - work->mean[j]);
    }
}

/* Draws `draws` times from one sequence, and adds what it finds to the state. */
static dmsae_status look(const dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch, int64_t s,
                         int64_t draws, const workspace *work, double *state, dmsae_call *call) {
    const int64_t d = plan->dimension, m = plan->latent_count;
    const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1], T = end - first;
    if (batch->codes->row_offsets[first] == batch->codes->row_offsets[end]) return DMSAE_OK;
    int64_t scored_count = 0;
    for (int64_t t = first; t < end; t++)
        if (batch->scored[t]) work->scored[scored_count++] = t;
    /* One token has no other. */
    if (scored_count < 2) return DMSAE_OK;
    memset(work->mean, 0, sizeof(double) * (size_t)m);
    memset(work->squares, 0, sizeof(double) * (size_t)m);
    make(batch, s, work);
    dmsae_gradient_point points[AT_ONCE];
    for (int64_t done = 0; done < draws; done += AT_ONCE) {
        const int64_t count = draws - done < AT_ONCE ? draws - done : AT_ONCE;
        for (int64_t k = 0; k < count; k++) {
            draw(self, batch, s, done + k, k, scored_count, work);
            points[k] = (dmsae_gradient_point){
                .sequence = s, .rows = work->rows + k * T * d, .gradient = work->gradient + k * T * d};
        }
        const dmsae_status status = self->grad->at(self->host, batch, points, count, call);
        if (status != DMSAE_OK) return status;
        for (int64_t k = 0; k < count; k++) {
            if (self->cancel != NULL && self->cancel->is_cancelled(self->host)) return DMSAE_CANCELLED;
            take(batch, s, done + k, k, scored_count, work);
        }
    }
    for (int64_t j = 0; j < m; j++) {
        state[j] += work->mean[j];
        state[m + j] += work->squares[j] / (double)(draws - 1) / (double)draws;
    }
    return DMSAE_OK;
}

/* How many draws the pass can pay for; fewer than two know no error. */
static dmsae_status afford(const dmsae_instance *self, const dmsae_scoring_plan *plan, int64_t *draws, dmsae_call *call) {
    const int64_t budget = DMSAE_HAS(plan, dmsae_scoring_plan, evaluation_budget) ? plan->evaluation_budget : INT64_MAX;
    const int64_t share = plan->sequence_count > 0 ? budget / plan->sequence_count : budget;
    *draws = share < self->draws ? share : self->draws;
    if (*draws >= 2) return DMSAE_OK;
    if (call->error_capacity > 0)
        snprintf(call->error, call->error_capacity,
                 "a budget of %lld forwards gives %lld sequences less than two draws each; give %lld or more", (long long)budget,
                 (long long)plan->sequence_count, (long long)(2 * plan->sequence_count));
    return DMSAE_BUDGET_EXHAUSTED;
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *memory, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    int64_t draws, longest = 0;
    dmsae_status status = afford(self, plan, &draws, call);
    if (status != DMSAE_OK) return status;
    for (int64_t s = 0; s < batch->sequence_count; s++) {
        const int64_t length = batch->sequence_offsets[s + 1] - batch->sequence_offsets[s];
        if (length > longest) longest = length;
    }
    const size_t m = (size_t)plan->latent_count, T = (size_t)longest, size = T * (size_t)plan->dimension;
    double *numbers = malloc(sizeof *numbers * (size + 3 * m + 1));
    float *rows = malloc(sizeof *rows * (2 * AT_ONCE * size + 1));
    int64_t *tokens = malloc(sizeof *tokens * ((1 + AT_ONCE) * T + 1));
    status = DMSAE_ERR_OUT_OF_MEMORY;
    if (numbers != NULL && rows != NULL && tokens != NULL) {
        const workspace work = {.made = numbers,
                                .rows = rows,
                                .gradient = rows + AT_ONCE * size,
                                .scored = tokens,
                                .baseline = tokens + T,
                                .value = numbers + size,
                                .mean = numbers + size + m,
                                .squares = numbers + size + 2 * m};
        status = DMSAE_OK;
        for (int64_t s = 0; s < batch->sequence_count && status == DMSAE_OK; s++)
            status = look(self, plan, batch, s, draws, &work, memory, call);
    }
    free(numbers);
    free(rows);
    free(tokens);
    return status;
}

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
    const double *sums = memory;
    for (int64_t j = 0; j < m; j++) {
        results[0][j] = S > 0 ? sums[j] / (double)S : (double)NAN;
        results[1][j] = S > 0 ? sqrt(sums[m + j]) / (double)S : (double)NAN;
    }
    return DMSAE_OK;
}

static const dmsae_scorer_accumulate scorer = {
    sizeof scorer, 1, output_count, output, state_size, begin, accumulate, merge, finish};

static const dmsae_parameter_spec draws = {
    sizeof draws, DMSAE_PARAMETER_INTEGER, "draws", "Baselines drawn for each sequence", "8", "gradients", 2, MOST_DRAWS, NULL, 0,
    0, 0};
static const dmsae_parameter_spec seed = {
    sizeof seed, DMSAE_PARAMETER_INTEGER, "seed", "Which are drawn", "0", NULL, 0, 9007199254740992.0, NULL, 0, 0, 0};
static const dmsae_parameter_spec *const parameters[] = {&draws, &seed};

static const char *const extensions[] = {DMSAE_SCORER_ACCUMULATE};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "expected-gradients", "Expected gradients", "1.0.0", "Apache-2.0",
    "Integrated gradients from the activations of other tokens, drawn",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_NEEDS_EVALUATION | DMSAE_PLUGIN_SCALE_INVARIANT,
    parameters, 2, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 1}, "plugins": [{"description":
     "Integrated gradients from the activations of other tokens, drawn", "extensions":
     ["dmsae.scorer.accumulate/1"], "flags": ["deterministic", "needs-evaluation", "scale-invariant"], "id":
     "expected-gradients", "kind": "scorer", "license": "Apache-2.0", "parameters": [{"default": "8", "description":
     "Baselines drawn for each sequence", "key": "draws", "maximum": 4096, "minimum": 2, "type": "integer", "unit":
     "gradients"}, {"default": "0", "description": "Which are drawn", "key": "seed", "maximum": 9007199254740992,
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
    const int is_draws = strcmp(given->key, "draws") == 0;
    if (!is_draws && strcmp(given->key, "seed") != 0)
        return refuse(call, DMSAE_ERR_UNKNOWN_PARAMETER, "unknown parameter '%s'; expected-gradients takes draws and seed",
                      given);
    const uint64_t number = strtoull(given->value, &end, 10);
    const int is_whole = errno == 0 && given->value[0] >= '0' && given->value[0] <= '9' && *end == 0;
    if (is_draws) {
        self->draws = (int64_t)number;
        if (is_whole && number >= 2 && number <= MOST_DRAWS) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a whole number from 2 to 4096", given);
    }
    self->seed = number;
    if (is_whole && number <= 1ull << 53) return DMSAE_OK;
    return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a whole number from 0 to 2^53", given);
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    struct dmsae_instance made = {.host = host,
                                  .grad = host->get_extension(host, DMSAE_GRAD),
                                  .cancel = host->get_extension(host, DMSAE_CANCEL),
                                  .draws = 8};
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
    return strcmp(id, DMSAE_SCORER_ACCUMULATE) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
