/* What a latent does for the reconstruction alone, whatever the language model makes of it: how much the squared error of
 * its token rises when it is removed,
 *
 *     score[t, j] = ‖x_t - (x̂_t - a·w)‖² - ‖x_t - x̂_t‖² = 2a⟨x_t - x̂_t, w⟩ + a²‖w‖²,   a = f[t, j],  w = W_dec[j]
 *
 * in squared units of x. A control: a latent that the SAE needs is not yet one that the loss needs.
 */
#include "dmsae/dmsae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One for all: there is nothing to set. */
struct dmsae_instance { int unused; };
static dmsae_instance only;

static const float *row(const dmsae_tensor *tensor, int64_t i) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset) + i * tensor->shape[tensor->ndim - 1];
}

static double dot(const double *x, const float *y, int64_t d) {
    double sum = 0;
    for (int64_t i = 0; i < d; i++) sum += x[i] * (double)y[i];
    return sum;
}

/* Writes x - x̂ of token t into `error` [d]. */
static void missing(const dmsae_scorer_batch *batch, int64_t t, double *error) {
    const dmsae_csr *codes = batch->codes;
    const int64_t d = batch->decoder->shape[1];
    const float *x = row(batch->residual, t), *there = row(batch->reconstruction, t);
    if (batch->splice_mode == DMSAE_SPLICE_RECONSTRUCTION) {
        for (int64_t i = 0; i < d; i++) error[i] = (double)x[i] - (double)there[i];
        return;
    }
    /* With the error added back nothing is missing from what was spliced in: x̂ is made again. */
    const float *bias = row(batch->decoder_bias, 0);
    for (int64_t i = 0; i < d; i++) error[i] = (double)x[i] - (double)bias[i];
    for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
        if (codes->column_indices[e] >= batch->spliced_width) continue;
        const float *w = row(batch->decoder, codes->column_indices[e]);
        for (int64_t i = 0; i < d; i++) error[i] -= (double)codes->values[e] * (double)w[i];
    }
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const dmsae_csr *codes = batch->codes;
    const int64_t d = batch->decoder->shape[1];
    if (batch->splice_mode != DMSAE_SPLICE_RECONSTRUCTION && batch->spliced_width > codes->columns) {
        if (call->error_capacity > 0)
            snprintf(call->error, call->error_capacity,
                     "%lld latents were spliced in and only %lld are candidates; leave the error term out, or make all "
                     "latents candidates",
                     (long long)batch->spliced_width, (long long)codes->columns);
        return DMSAE_ERR_UNSUPPORTED;
    }
    double *squares = malloc(sizeof(double) * (size_t)(codes->columns + d));
    if (squares == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    double *error = squares + codes->columns;
    for (int64_t j = 0; j < codes->columns; j++) {
        const float *w = row(batch->decoder, j);
        squares[j] = 0;
        for (int64_t i = 0; i < d; i++) squares[j] += (double)w[i] * (double)w[i];
    }
    for (int64_t t = 0; t < codes->rows; t++) {
        if (codes->row_offsets[t] == codes->row_offsets[t + 1]) continue;
        missing(batch, t, error);
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
            const int64_t j = codes->column_indices[e];
            const double a = (double)codes->values[e];
            /* A latent beyond the spliced prefix is no part of x̂: there it is what adding it would take away. */
            const double own = j < batch->spliced_width ? a * a * squares[j] : -a * a * squares[j];
            scores[e] = (float)(2 * a * dot(error, row(batch->decoder, j), d) + own);
        }
    }
    free(squares);
    return DMSAE_OK;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};

static const char *const extensions[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "reconstruction", "Reconstruction gain", "1.0.0", "Apache-2.0",
    "Control: rise of the squared reconstruction error when the latent is removed",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT | DMSAE_PLUGIN_SCALE_INVARIANT, NULL, 0, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 0}, "plugins": [{"description":
     "Control: rise of the squared reconstruction error when the latent is removed", "extensions":
     ["dmsae.scorer.per_token/1"], "flags": ["deterministic", "reentrant", "scale-invariant"], "id":
     "reconstruction", "kind": "scorer", "license": "Apache-2.0", "parameters": [], "version": "1.0.0"}]});

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
            snprintf(call->error, call->error_capacity, "unknown parameter '%s'; reconstruction takes none",
                     parameters[0].key);
        return DMSAE_ERR_UNKNOWN_PARAMETER;
    }
    *out = &only;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { (void)self; }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {
    DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1, descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
