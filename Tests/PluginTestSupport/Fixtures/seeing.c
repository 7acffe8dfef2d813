/* A scorer and a rule that hand out what they see since 0.3: the setting what=NAME says which of it. What is not there is
 * an error that names it. */
#include "dmsae/dmsae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FLAGS
#define FLAGS DMSAE_PLUGIN_NEEDS_ENCODER | DMSAE_PLUGIN_NEEDS_TARGET_PROBABILITIES
#endif

struct dmsae_instance {
    char what[32];
};

static int is(const dmsae_instance *self, const char *what) { return strcmp(self->what, what) == 0; }

static dmsae_status missing(dmsae_call *call, const char *what) {
    snprintf(call->error, call->error_capacity, "%s is not there", what);
    return DMSAE_ERR_FAILED;
}

/* p of token t and latent j, from the batch's encoder. */
static double preactivation(const dmsae_scorer_batch *batch, int64_t t, int64_t j) {
    const int64_t d = batch->decoder->shape[1];
    const float *x = (const float *)batch->residual->data + t * d, *w = (const float *)batch->encoder->data + j * d;
    const float *b = batch->decoder_bias->data;
    const int shift = (batch->flags & DMSAE_BATCH_SUBTRACTS_DECODER_BIAS) != 0;
    double sum = ((const float *)batch->encoder_bias->data)[j];
    for (int64_t i = 0; i < d; i++) sum += ((double)x[i] - (shift ? b[i] : 0)) * w[i];
    return sum;
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    if (!DMSAE_HAS(batch, dmsae_scorer_batch, hook)) return missing(call, "all of 0.3");
    if (is(self, "encoder") && (!batch->encoder || !batch->encoder_bias)) return missing(call, "the encoder");
    if (is(self, "threshold") && !batch->thresholds) return missing(call, "thresholds");
    if (is(self, "probability") && !batch->target_probabilities) return missing(call, "target_probabilities");
    for (int64_t t = 0, document = 0; t < batch->codes->rows; t++) {
        while (batch->document_offsets[document + 1] <= t) document++;
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            const int32_t j = batch->codes->column_indices[e];
            double value = -1;
            if (is(self, "encoder")) value = preactivation(batch, t, j);
            if (is(self, "threshold")) value = ((const float *)batch->thresholds->data)[j];
            if (is(self, "top-k")) value = (double)batch->top_k;
            if (is(self, "probability")) value = batch->target_probabilities[t];
            if (is(self, "norm")) value = batch->residual_norms[t];
            if (is(self, "document")) value = (double)document;
            if (is(self, "documents")) value = (double)batch->document_count;
            if (is(self, "hook")) value = 10 * batch->layer + batch->hook;
            if (is(self, "tensor-flags")) value = (double)batch->decoder->flags;
            if (is(self, "stream")) value = DMSAE_HAS(call, dmsae_call, stream) && !call->stream;
            scores[e] = (float)value;
        }
    }
    return DMSAE_OK;
}

static dmsae_selection_scope scope(dmsae_instance *self) {
    (void)self;
    return DMSAE_SCOPE_ALL;
}

static dmsae_status upper_count(dmsae_instance *self, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call) {
    (void)self, (void)context, (void)call;
    *count = INT64_MAX;
    return DMSAE_OK;
}

/* In use what exceeds its threshold, in training the latents of the second group. */
static dmsae_status select_entries(dmsae_instance *self, const dmsae_selection_context *context,
                                   const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call) {
    (void)self;
    if (!DMSAE_HAS(context, dmsae_selection_context, thresholds)) return missing(call, "all of 0.3");
    if (context->prefix_widths[context->prefix_count - 1] != context->latent_count) return missing(call, "the last prefix");
    if ((context->mode == DMSAE_MODE_INFER) != (context->thresholds != NULL)) return missing(call, "thresholds");
    for (int64_t e = 0; e < candidates->count; e++) {
        const int32_t j = candidates->column_indices[e];
        int64_t group = 0;
        while (j >= context->prefix_widths[group]) group++;
        selected[e] = context->thresholds ? candidates->values[e] > context->thresholds[j] : group == 1;
    }
    return DMSAE_OK;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};
static const dmsae_sparsity_rule rule = {sizeof rule, 0, scope, upper_count, select_entries};
static const char *const scorer_ids[] = {DMSAE_SCORER_PER_TOKEN}, *const rule_ids[] = {DMSAE_SPARSITY_RULE};
static const dmsae_parameter_spec what = {sizeof what, DMSAE_PARAMETER_TEXT, "what", "What to hand out", "norm", NULL, 0, 0,
                                          NULL, 0, 0, 0};
static const dmsae_parameter_spec *const settings[] = {&what};
static const dmsae_descriptor all[] = {
    {sizeof all[0], DMSAE_KIND_SCORER, "seeing", "Seeing", "1.0", "MIT", "What it sees", scorer_ids, 1, 0, FLAGS, settings,
     1, 0},
    {sizeof all[1], DMSAE_KIND_SPARSITY_RULE, "seeing-rule", "Seeing", "1.0", "MIT", "By what it sees", rule_ids, 1, 0, 0,
     NULL, 0, 0}};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index < 2 ? &all[index] : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index, (void)host, (void)call;
    dmsae_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) strncpy(self->what, given[i].value, sizeof self->what - 1);
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    if (strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0) return &scorer;
    return strcmp(id, DMSAE_SPARSITY_RULE) == 0 ? &rule : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 2,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
