/* Direct logit attribution: what a latent by itself adds to the logit of the token that comes next, above what it adds to
 * the logits of all tokens on average,
 *
 *     score[t, j] = a · ⟨w, u_y - ū⟩ / σ_t,   a = f[t, j],  w = W_dec[j],  y the token after t
 *
 * u_v are rows of W_U times the final norm's weights, ū is their mean over the vocabulary, σ_t is what the final norm divides
 * the stream by; any soft cap is left out. Positive: the latent helps the next token. What later blocks make of the latent,
 * and what it does to later tokens, is not seen; so nothing has to be run for it but the final norm's scales, once a batch.
 * A token that nothing comes after has score 0.
 */
#define DMSAE_ABI_MINOR_REQUIRED 3u /* dmsae.head/1 */
#include "dmsae/dmsae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance {
    const dmsae_host *host;
    const dmsae_host_head *head;
    const dmsae_host_cancel *cancel; /* or null */
};

static const float *floats(const dmsae_tensor *tensor) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset);
}

/* Marks the tokens of the batch that another one comes after: not the last ones, and no padding, where the loss is of nothing. */
static void mark(const dmsae_scorer_batch *batch, uint8_t *is_followed) {
    for (int64_t s = 0; s < batch->sequence_count; s++) {
        const int64_t end = batch->sequence_offsets[s + 1];
        for (int64_t t = batch->sequence_offsets[s]; t < end; t++) is_followed[t] = t + 1 < end && batch->loss[t] != 0;
    }
}

/* Writes the scores; `rows` [N + 1, d] are u_y of every token that is followed, then ū. */
static dmsae_status write(const dmsae_instance *self, const dmsae_scorer_batch *batch, const uint8_t *is_followed, float *rows,
                          const float *scales, float *scores) {
    const dmsae_csr *codes = batch->codes;
    const int64_t d = batch->decoder->shape[1];
    const float *decoder = floats(batch->decoder), *mean = rows + codes->rows * d;
    for (int64_t t = 0; t < codes->rows; t++) {
        if (t % 64 == 0 && self->cancel != NULL && self->cancel->is_cancelled(self->host)) return DMSAE_CANCELLED;
        const float *u = rows + t * d;
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
            const float *w = decoder + codes->column_indices[e] * d;
            double dot = 0;
            for (int64_t i = 0; is_followed[t] && i < d; i++) dot += (double)w[i] * ((double)u[i] - (double)mean[i]);
            scores[e] = is_followed[t] ? (float)((double)codes->values[e] * dot / (double)scales[t]) : 0;
        }
    }
    return DMSAE_OK;
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const size_t N = (size_t)batch->codes->rows, d = (size_t)batch->decoder->shape[1];
    float *rows = malloc(sizeof *rows * (N + 1) * d + 1), *scales = malloc(sizeof *scales * N + 1);
    int32_t *tokens = malloc(sizeof *tokens * (N + 1));
    uint8_t *is_followed = calloc(N + 1, 1);
    dmsae_status status = DMSAE_ERR_OUT_OF_MEMORY;
    if (rows != NULL && scales != NULL && tokens != NULL && is_followed != NULL) {
        mark(batch, is_followed);
        for (size_t t = 0; t < N; t++) tokens[t] = is_followed[t] ? batch->tokens[t + 1] : -1;
        tokens[N] = -1;
        status = self->head->rows(self->host, batch, tokens, (int64_t)N + 1, rows, call);
        if (status == DMSAE_OK) status = self->head->scales(self->host, batch, scales, call);
        if (status == DMSAE_OK) status = write(self, batch, is_followed, rows, scales, scores);
    }
    free(rows);
    free(scales);
    free(tokens);
    free(is_followed);
    return status;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};

static const char *const extensions[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "logit", "Direct logit attribution", "1.0.0", "Apache-2.0",
    "What the latent itself adds to the next token's logit, above the mean of all tokens",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_NEEDS_EVALUATION | DMSAE_PLUGIN_SCALE_INVARIANT, NULL, 0, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 3}, "plugins": [{"description":
     "What the latent itself adds to the next token's logit, above the mean of all tokens", "extensions":
     ["dmsae.scorer.per_token/1"], "flags": ["deterministic", "needs-evaluation", "scale-invariant"], "id": "logit",
     "kind": "scorer", "license": "Apache-2.0", "parameters": [], "version": "1.0.0"}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    if (count > 0) {
        if (call->error_capacity > 0)
            snprintf(call->error, call->error_capacity, "unknown parameter '%s'; logit takes none", given[0].key);
        return DMSAE_ERR_UNKNOWN_PARAMETER;
    }
    const dmsae_host_head *head = host->get_extension(host, DMSAE_HEAD);
    if (head == NULL) {
        if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, "this host has no %s", DMSAE_HEAD);
        return DMSAE_ERR_UNSUPPORTED;
    }
    dmsae_instance *self = malloc(sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    *self = (dmsae_instance){.host = host, .head = head, .cancel = host->get_extension(host, DMSAE_CANCEL)};
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
