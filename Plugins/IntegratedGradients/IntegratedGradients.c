/* Integrated gradients (Sundararajan, Taly, Yan 2017), midpoint rule of n steps:
 *
 *     score[t, j] = -(a - b) · (1/n) Σ_i ⟨g_t(r(α_i)), w⟩,   α_i = (i + 1/2)/n,   a = f[t, j],  w = W_dec[j]
 *
 *   path=joint    r(α) = x̂ - (1 - α) Σ_l (f_l - b_l) W_dec[l]: all latents move together. n gradients a sequence. With
 *                 b = 0 the scores of a sequence add up to the loss at α = 0 less the loss at α = 1, to the rule's error.
 *   path=single   r(α) = x̂ - (1 - α) (f_j - b_j) W_dec[j]: the others stay. n gradients a sequence and latent that fires
 *                 in it; with b = 0 the scores of j add up to what its removal does to the loss of the sequence.
 *
 * The baseline b is 0, or with baseline=mean the mean of the activation over the scored tokens of the pass. Then silent
 * tokens move too, from b to 0; they have no entry, so what they add to the sum is not among the scores.
 * Positive: the latent helps. Not gradient × activation's unit direction: with it nothing would add up.
 */
#define DMSAE_ABI_MINOR_REQUIRED 1u
#include "dmsae/dmsae.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_STEPS 1024

struct dmsae_instance {
    const dmsae_host *host;
    const dmsae_host_grad *grad;
    const dmsae_host_means *means; /* null on a host of 0.1 */
    int64_t steps;
    int is_single, to_mean;
    double alphas[MOST_STEPS], weights[MOST_STEPS];
};

static const float *floats(const dmsae_tensor *tensor) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset);
}

/* Memory of one call, for one sequence. */
typedef struct {
    float *base;      /* [T, d] */
    double *gradient; /* [T, d] */
    double *baseline; /* [m] b */
    double *shift;    /* [d] Σ b_l W_dec[l] of those that move */
} workspace;

/* Integrates from x̂ with the latents that `wanted` [m] marks at their baseline, over one sequence, and scores them. */
static dmsae_status integrate(const dmsae_instance *self, const dmsae_scorer_batch *batch, int64_t s, const uint8_t *wanted,
                              const workspace *work, float *scores, dmsae_call *call) {
    const dmsae_csr *codes = batch->codes;
    const int64_t d = batch->reconstruction->shape[1];
    const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1];
    const float *decoder = floats(batch->decoder), *top = floats(batch->reconstruction) + first * d;
    memcpy(work->base, top, sizeof *top * (size_t)((end - first) * d));
    if (self->to_mean) {
        memset(work->shift, 0, sizeof(double) * (size_t)d);
        for (int64_t j = 0; j < codes->columns; j++) {
            if (!wanted[j]) continue;
            for (int64_t i = 0; i < d; i++) work->shift[i] += work->baseline[j] * (double)decoder[j * d + i];
        }
        for (int64_t t = first; t < end; t++)
            for (int64_t i = 0; i < d && batch->scored[t]; i++) work->base[(t - first) * d + i] += (float)work->shift[i];
    }
    for (int64_t t = first; t < end; t++)
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
            if (!wanted[codes->column_indices[e]]) continue;
            const float *w = decoder + codes->column_indices[e] * d;
            for (int64_t i = 0; i < d; i++) work->base[(t - first) * d + i] -= codes->values[e] * w[i];
        }
    dmsae_gradient_path path = {.sequence = s, .base = work->base, .end = top, .gradient = work->gradient};
    const dmsae_status status =
        self->grad->along(self->host, batch, &path, 1, self->alphas, self->weights, self->steps, call);
    if (status != DMSAE_OK) return status;
    for (int64_t t = first; t < end; t++)
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
            if (!wanted[codes->column_indices[e]]) continue;
            const float *w = decoder + codes->column_indices[e] * d;
            double dot = 0;
            for (int64_t i = 0; i < d; i++) dot += work->gradient[(t - first) * d + i] * (double)w[i];
            scores[e] = (float)((work->baseline[codes->column_indices[e]] - (double)codes->values[e]) * dot);
        }
    return DMSAE_OK;
}

static dmsae_status score_sequence(const dmsae_instance *self, const dmsae_scorer_batch *batch, int64_t s, uint8_t *fires,
                                   uint8_t *wanted, const workspace *work, float *scores, dmsae_call *call) {
    const dmsae_csr *codes = batch->codes;
    const size_t m = (size_t)codes->columns;
    const int64_t first = codes->row_offsets[batch->sequence_offsets[s]];
    const int64_t end = codes->row_offsets[batch->sequence_offsets[s + 1]];
    if (first == end) return DMSAE_OK;
    memset(fires, 0, m);
    for (int64_t e = first; e < end; e++) fires[codes->column_indices[e]] = 1;
    if (!self->is_single) {
        /* Those that do not fire here rest at their baseline all the same. */
        if (self->to_mean) memset(fires, 1, m);
        return integrate(self, batch, s, fires, work, scores, call);
    }
    memset(wanted, 0, m);
    for (size_t j = 0; j < m; j++) {
        if (!fires[j]) continue;
        wanted[j] = 1;
        const dmsae_status status = integrate(self, batch, s, wanted, work, scores, call);
        if (status != DMSAE_OK) return status;
        wanted[j] = 0;
    }
    return DMSAE_OK;
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    int64_t longest = 0;
    for (int64_t s = 0; s < batch->sequence_count; s++) {
        const int64_t length = batch->sequence_offsets[s + 1] - batch->sequence_offsets[s];
        if (length > longest) longest = length;
    }
    const size_t d = (size_t)batch->reconstruction->shape[1], elements = (size_t)longest * d;
    const size_t m = (size_t)batch->codes->columns;
    workspace work = {malloc(sizeof(float) * elements + 1), malloc(sizeof(double) * elements + 1),
                      calloc(m + 1, sizeof(double)), malloc(sizeof(double) * d + 1)};
    uint8_t *marks = malloc(2 * m + 1);
    dmsae_status status = DMSAE_ERR_OUT_OF_MEMORY;
    if (work.base != NULL && work.gradient != NULL && work.baseline != NULL && work.shift != NULL && marks != NULL) {
        int64_t scored;
        status = self->to_mean ? self->means->activations(self->host, batch, work.baseline, &scored, call) : DMSAE_OK;
        for (int64_t s = 0; s < batch->sequence_count && status == DMSAE_OK; s++)
            status = score_sequence(self, batch, s, marks, marks + m, &work, scores, call);
    }
    free(work.base);
    free(work.gradient);
    free(work.baseline);
    free(work.shift);
    free(marks);
    return status;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};

static const char *const paths[] = {"joint", "single"};
static const dmsae_parameter_spec path = {
    sizeof path, DMSAE_PARAMETER_CHOICE, "path", "All latents from the baseline together, or each alone", "joint", NULL, 0, 0, paths,
    2, 0, 0};
static const dmsae_parameter_spec steps = {
    sizeof steps, DMSAE_PARAMETER_INTEGER, "steps", "Gradients along the path", "8", "gradients", 1, MOST_STEPS, NULL, 0, 0,
    0};
static const char *const baselines[] = {"zero", "mean"};
static const dmsae_parameter_spec baseline = {
    sizeof baseline, DMSAE_PARAMETER_CHOICE, "baseline", "Where the path begins: zero, or the mean activation over the pass",
    "zero", NULL, 0, 0, baselines, 2, 0, 0};
static const dmsae_parameter_spec *const parameters[] = {&path, &steps, &baseline};

static const char *const extensions[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "ig", "Integrated gradients", "1.1.0", "Apache-2.0",
    "Activation times the gradient averaged along a path from a baseline",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_NEEDS_EVALUATION | DMSAE_PLUGIN_SCALE_INVARIANT,
    parameters, 3, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 1}, "plugins": [{"description":
     "Activation times the gradient averaged along a path from a baseline", "extensions":
     ["dmsae.scorer.per_token/1"], "flags": ["deterministic", "needs-evaluation", "scale-invariant"], "id": "ig",
     "kind": "scorer", "license": "Apache-2.0", "parameters": [{"choices": ["joint", "single"], "default": "joint",
     "description": "All latents from the baseline together, or each alone", "key": "path", "type": "choice"},
     {"default": "8", "description": "Gradients along the path", "key": "steps", "maximum": 1024, "minimum": 1,
     "type": "integer", "unit": "gradients"}, {"choices": ["zero", "mean"], "default": "zero", "description":
     "Where the path begins: zero, or the mean activation over the pass", "key": "baseline", "type": "choice"}],
     "version": "1.1.0"}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status refuse(dmsae_call *call, dmsae_status status, const char *format, const char *key, const char *value) {
    if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, format, key, value);
    return status;
}

static dmsae_status read(dmsae_instance *self, const dmsae_parameter *given, dmsae_call *call) {
    if (strcmp(given->key, "path") == 0) {
        self->is_single = strcmp(given->value, "single") == 0;
        if (self->is_single || strcmp(given->value, "joint") == 0) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give joint or single", given->key, given->value);
    }
    if (strcmp(given->key, "steps") == 0) {
        char *end;
        errno = 0;
        self->steps = strtoll(given->value, &end, 10);
        if (errno == 0 && *end == 0 && end != given->value && self->steps >= 1 && self->steps <= MOST_STEPS)
            return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a whole number from 1 to 1024", given->key,
                      given->value);
    }
    if (strcmp(given->key, "baseline") == 0) {
        self->to_mean = strcmp(given->value, "mean") == 0;
        if (self->to_mean && self->means == NULL)
            return refuse(call, DMSAE_ERR_UNSUPPORTED, "this host has no %s, which baseline=%s needs", DMSAE_MEANS, given->value);
        if (self->to_mean || strcmp(given->value, "zero") == 0) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give zero or mean", given->key, given->value);
    }
    return refuse(call, DMSAE_ERR_UNKNOWN_PARAMETER, "unknown parameter '%s'%s; ig takes path, steps and baseline", given->key,
                  "");
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    dmsae_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    self->host = host;
    self->grad = host->get_extension(host, DMSAE_GRAD);
    self->means = host->get_extension(host, DMSAE_MEANS);
    self->steps = 8;
    dmsae_status status = DMSAE_OK;
    if (self->grad == NULL) status = refuse(call, DMSAE_ERR_UNSUPPORTED, "this host has no %s%s", DMSAE_GRAD, "");
    for (uint32_t i = 0; i < count && status == DMSAE_OK; i++) status = read(self, &given[i], call);
    if (status != DMSAE_OK) {
        free(self);
        return status;
    }
    for (int64_t i = 0; i < self->steps; i++) {
        self->alphas[i] = ((double)i + 0.5) / (double)self->steps;
        self->weights[i] = 1 / (double)self->steps;
    }
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
