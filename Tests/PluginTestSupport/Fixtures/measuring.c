/* A scorer that asks by dmsae.eval/2, dmsae.grad/2 and dmsae.head/1: what=NAME says what for. A score is -a·⟨g, w⟩ of a gradient,
 * the change of a metric where the entry's activation alone is set to 0, or the latent's direct effect on a logit. */
#include "dmsae/dmsae.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance {
    const dmsae_host *host;
    char what[32];
};

static int is(const dmsae_instance *self, const char *what) { return strcmp(self->what, what) == 0; }

typedef struct {
    const dmsae_host_eval_2 *eval;
    const dmsae_host_grad_2 *grad;
    const dmsae_host_head *head;
} services;

static double inner(const float *x, const float *y, int64_t d) {
    double sum = 0;
    for (int64_t i = 0; i < d; i++) sum += (double)x[i] * y[i];
    return sum;
}

/* The metric and rule of a name; weights are t + 1 of token t in the batch where `weights` is not null. */
static dmsae_metric metric_of(const dmsae_instance *self, const dmsae_scorer_batch *batch, float *weights,
                              dmsae_backward_rule *rule) {
    dmsae_metric metric = {.struct_size = sizeof metric, .kind = DMSAE_METRIC_LOSS};
    *rule = DMSAE_BACKWARD_PLAIN;
    if (is(self, "relp")) *rule = DMSAE_BACKWARD_RELP;
    if (is(self, "relp-pattern")) *rule = DMSAE_BACKWARD_RELP_PATTERN;
    if (is(self, "attention-only")) *rule = DMSAE_BACKWARD_ATTENTION_ONLY;
    if (strncmp(self->what, "divergence", 10) == 0) metric.kind = DMSAE_METRIC_DIVERGENCE;
    if (strncmp(self->what, "difference", 10) == 0) {
        metric.kind = DMSAE_METRIC_LOGIT_DIFFERENCE;
        metric.token_a = 5, metric.token_b = 9;
    }
    if (strncmp(self->what, "direction", 9) == 0) {
        metric.kind = DMSAE_METRIC_DIRECTION;
        metric.direction = batch->decoder->data;
        metric.layer = 2;
        metric.weights = weights;
    }
    if (strncmp(self->what, "weighted", 8) == 0) metric.weights = weights;
    if (is(self, "bad-kind")) metric.kind = (dmsae_metric_kind)9;
    if (is(self, "bad-rule")) *rule = (dmsae_backward_rule)9;
    if (is(self, "bad-size")) metric.struct_size = 8;
    if (is(self, "no-direction")) metric.kind = DMSAE_METRIC_DIRECTION;
    if (is(self, "bad-layer")) metric.kind = DMSAE_METRIC_DIRECTION, metric.direction = batch->decoder->data;
    if (is(self, "bad-token")) metric.kind = DMSAE_METRIC_LOGIT_DIFFERENCE, metric.token_b = 100000;
    if (is(self, "bad-weight")) metric.weights = weights, weights[3] = NAN;
    return metric;
}

static dmsae_status by_gradients(dmsae_instance *self, const services *ask, const dmsae_scorer_batch *batch,
                                 const dmsae_metric *metric, dmsae_backward_rule rule, float *scores, dmsae_call *call) {
    const int64_t d = batch->decoder->shape[1], N = batch->codes->rows, S = batch->sequence_count;
    float *gradient = malloc(sizeof *gradient * (size_t)(N * d));
    double *sum = malloc(sizeof *sum * (size_t)(N * d));
    dmsae_gradient_point *points = calloc((size_t)S, sizeof *points);
    dmsae_gradient_path *paths = calloc((size_t)S, sizeof *paths);
    for (int64_t s = 0; s < S; s++) {
        const int64_t from = batch->sequence_offsets[s] * d;
        const float *rows = (const float *)batch->reconstruction->data + from;
        points[s] = (dmsae_gradient_point){.sequence = s, .rows = rows, .gradient = gradient + from};
        paths[s] = (dmsae_gradient_path){.sequence = s, .base = rows, .end = rows, .gradient = sum + from};
    }
    const double alpha = 0.5, weight = 1;
    const int is_path = strstr(self->what, "path") != NULL;
    const dmsae_status status =
        is_path ? ask->grad->along(self->host, batch, metric, rule, paths, S, &alpha, &weight, 1, call)
                : ask->grad->at(self->host, batch, metric, rule, points, S, call);
    for (int64_t i = 0; is_path && i < N * d; i++) gradient[i] = (float)sum[i];
    for (int64_t t = 0; status == DMSAE_OK && t < N; t++)
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            const float *w = (const float *)batch->decoder->data + batch->codes->column_indices[e] * d;
            scores[e] = (float)(-batch->codes->values[e] * inner(gradient + t * d, w, d));
        }
    free(gradient), free(sum), free(points), free(paths);
    return status;
}

static dmsae_status by_changes(dmsae_instance *self, const services *ask, const dmsae_scorer_batch *batch,
                               const dmsae_metric *metric, float *scores, dmsae_call *call) {
    const int64_t count = batch->codes->count;
    dmsae_edit_group *groups = calloc((size_t)count, sizeof *groups);
    dmsae_edit *edits = calloc((size_t)count, sizeof *edits);
    for (int64_t t = 0, s = 0; t < batch->codes->rows; t++) {
        while (batch->sequence_offsets[s + 1] <= t) s++;
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            edits[e] = (dmsae_edit){.first_token = t, .end_token = t + 1, .latent = batch->codes->column_indices[e],
                                    .operation = DMSAE_EDIT_SCALE};
            groups[e] = (dmsae_edit_group){.sequence = s, .first_edit = e, .edit_count = 1};
        }
    }
    const dmsae_status status = ask->eval->values(self->host, batch, metric, groups, count, edits, count, call);
    for (int64_t e = 0; e < count; e++) scores[e] = (float)groups[e].loss_change;
    free(groups), free(edits);
    return status;
}

static dmsae_status by_head(dmsae_instance *self, const services *ask, const dmsae_scorer_batch *batch, float *scores,
                            dmsae_call *call) {
    const int64_t d = batch->decoder->shape[1], N = batch->codes->rows;
    int32_t *tokens = malloc(sizeof *tokens * (size_t)(N + 1));
    float *rows = malloc(sizeof *rows * (size_t)((N + 1) * d)), *scales = malloc(sizeof *scales * (size_t)N);
    for (int64_t t = 0; t < N; t++) tokens[t] = batch->tokens[t + 1 < N ? t + 1 : t];
    tokens[N] = is(self, "bad-row") ? -7 : -1;
    dmsae_status status = ask->head->rows(self->host, batch, tokens, N + 1, rows, call);
    if (status == DMSAE_OK) status = ask->head->scales(self->host, batch, scales, call);
    for (int64_t t = 0; status == DMSAE_OK && t < N; t++)
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            const float *w = (const float *)batch->decoder->data + batch->codes->column_indices[e] * d;
            scores[e] = (float)(batch->codes->values[e] * (inner(w, rows + t * d, d) - inner(w, rows + N * d, d)) / scales[t]);
        }
    free(tokens), free(rows), free(scales);
    return status;
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    const services ask = {self->host->get_extension(self->host, DMSAE_EVAL_2),
                          self->host->get_extension(self->host, DMSAE_GRAD_2),
                          self->host->get_extension(self->host, DMSAE_HEAD)};
    if (!ask.eval || !ask.grad || !ask.head) return DMSAE_ERR_UNSUPPORTED;
    float *weights = malloc(sizeof *weights * (size_t)batch->codes->rows);
    for (int64_t t = 0; t < batch->codes->rows; t++) weights[t] = (float)(t + 1);
    dmsae_backward_rule rule;
    const dmsae_metric metric = metric_of(self, batch, weights, &rule);
    const dmsae_status status =
        is(self, "logit") || is(self, "bad-row") ? by_head(self, &ask, batch, scores, call)
        : strstr(self->what, "change")           ? by_changes(self, &ask, batch, &metric, scores, call)
                                                 : by_gradients(self, &ask, batch, &metric, rule, scores, call);
    free(weights);
    return status;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};
static const char *const ids[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_parameter_spec what = {sizeof what, DMSAE_PARAMETER_TEXT, "what", "What to ask for", "relp", NULL, 0, 0,
                                          NULL, 0, 0, 0};
static const dmsae_parameter_spec *const settings[] = {&what};
static const dmsae_descriptor about = {sizeof about, DMSAE_KIND_SCORER, "measuring", "Measuring", "1.0", "MIT",
                                       "By what it measures", ids, 1, 0, DMSAE_PLUGIN_NEEDS_EVALUATION, settings, 1, 0};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index, (void)call;
    dmsae_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    self->host = host;
    for (uint32_t i = 0; i < count; i++) strncpy(self->what, given[i].value, sizeof self->what - 1);
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
