/* RelP, relevance patching (arXiv:2508.21258): gradient × activation with a backward pass that looks further than the tangent,
 *
 *     score[t, j] = -a · ⟨g'_t, w⟩,   a = f[t, j],  w = W_dec[j]
 *
 * g' is the gradient of the sequence's losses at x̂ under RelP's rules, which are the host's (evaluation.h): norms divide by
 * constants, act(x) is x times the constant act(x)/x, a product of two gives each factor half. With pattern=detached the weights
 * of attention are constants too. The forward pass is the model's own. It costs what the plain gradient does.
 * Positive: the latent helps. With w and not its unit direction, so that a latent's scale does not matter.
 */
#define DMSAE_ABI_MINOR_REQUIRED 3u /* dmsae.grad/2 */
#include "dmsae/dmsae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance {
    const dmsae_host *host;
    const dmsae_host_grad_2 *grad;
    const dmsae_host_cancel *cancel; /* or null */
    dmsae_backward_rule rule;
};

static const float *floats(const dmsae_tensor *tensor) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset);
}

/* Writes the scores of a batch whose gradients [N, d] are known. */
static dmsae_status write(const dmsae_instance *self, const dmsae_scorer_batch *batch, const float *gradient, float *scores) {
    const dmsae_csr *codes = batch->codes;
    const int64_t d = batch->decoder->shape[1];
    const float *decoder = floats(batch->decoder);
    for (int64_t t = 0; t < codes->rows; t++) {
        if (t % 64 == 0 && self->cancel != NULL && self->cancel->is_cancelled(self->host)) return DMSAE_CANCELLED;
        const float *g = gradient + t * d;
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
            const float *w = decoder + codes->column_indices[e] * d;
            double dot = 0;
            for (int64_t i = 0; i < d; i++) dot += (double)g[i] * (double)w[i];
            scores[e] = (float)(-(double)codes->values[e] * dot);
        }
    }
    return DMSAE_OK;
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const int64_t d = batch->decoder->shape[1], S = batch->sequence_count;
    float *gradient = malloc(sizeof *gradient * (size_t)(batch->codes->rows * d) + 1);
    dmsae_gradient_point *points = calloc((size_t)S + 1, sizeof *points);
    dmsae_status status = DMSAE_ERR_OUT_OF_MEMORY;
    if (gradient != NULL && points != NULL) {
        for (int64_t s = 0; s < S; s++) {
            const int64_t from = batch->sequence_offsets[s] * d;
            points[s] = (dmsae_gradient_point){
                .sequence = s, .rows = floats(batch->reconstruction) + from, .gradient = gradient + from};
        }
        const dmsae_metric loss = {.struct_size = sizeof loss, .kind = DMSAE_METRIC_LOSS};
        status = self->grad->at(self->host, batch, &loss, self->rule, points, S, call);
        if (status == DMSAE_OK) status = write(self, batch, gradient, scores);
    }
    free(gradient);
    free(points);
    return status;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};

static const char *const patterns[] = {"attached", "detached"};
static const dmsae_parameter_spec pattern = {
    sizeof pattern, DMSAE_PARAMETER_CHOICE, "pattern", "Whether attention's weights follow the stream, or are constants", "attached",
    NULL, 0, 0, patterns, 2, 0, 0};
static const dmsae_parameter_spec *const parameters[] = {&pattern};

static const char *const extensions[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "relp", "RelP", "1.0.0", "Apache-2.0",
    "Activation times the gradient under RelP's rules",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_NEEDS_EVALUATION | DMSAE_PLUGIN_SCALE_INVARIANT,
    parameters, 1, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 3}, "plugins": [{"description":
     "Activation times the gradient under RelP's rules", "extensions":
     ["dmsae.scorer.per_token/1"], "flags": ["deterministic", "needs-evaluation", "scale-invariant"], "id": "relp",
     "kind": "scorer", "license": "Apache-2.0", "parameters": [{"choices": ["attached", "detached"], "default": "attached",
     "description": "Whether attention's weights follow the stream, or are constants", "key": "pattern", "type": "choice"}],
     "version": "1.0.0"}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status refuse(dmsae_call *call, dmsae_status status, const char *format, const char *key, const char *value) {
    if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, format, key, value);
    return status;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    struct dmsae_instance made = {.host = host,
                                  .grad = host->get_extension(host, DMSAE_GRAD_2),
                                  .cancel = host->get_extension(host, DMSAE_CANCEL),
                                  .rule = DMSAE_BACKWARD_RELP};
    if (made.grad == NULL) return refuse(call, DMSAE_ERR_UNSUPPORTED, "this host has no %s%s", DMSAE_GRAD_2, "");
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(given[i].key, "pattern") != 0)
            return refuse(call, DMSAE_ERR_UNKNOWN_PARAMETER, "unknown parameter '%s'%s; relp takes pattern", given[i].key, "");
        const int is_detached = strcmp(given[i].value, patterns[1]) == 0;
        if (!is_detached && strcmp(given[i].value, patterns[0]) != 0)
            return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give attached or detached", given[i].key,
                          given[i].value);
        made.rule = is_detached ? DMSAE_BACKWARD_RELP_PATTERN : DMSAE_BACKWARD_RELP;
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
    return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
