/* BatchTopK by a sort, with -DCALIBRATES one threshold as its form, or with -DLEARNS a threshold a latent that trains,
 * with faults that only a validator finds: fault=NAME breaks one promise of the headers. Without one it keeps all. */
#define _GNU_SOURCE
#include "dmsae/dmsae.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef FLAGS
#define FLAGS DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT
#endif

struct dmsae_instance {
    char fault[32];
    int calls;
};

static int has(const dmsae_instance *self, const char *fault) { return strcmp(self->fault, fault) == 0; }

static dmsae_selection_scope scope(dmsae_instance *self) {
    (void)self;
#ifdef LEARNS
    return DMSAE_SCOPE_ALL;
#else
    return DMSAE_SCOPE_BATCH;
#endif
}

static dmsae_status upper_count(dmsae_instance *self, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call) {
    (void)call;
    *count = context->batch_budget + (has(self, "counts") ? self->calls++ : 0);
    return DMSAE_OK;
}

typedef struct {
    const float *values;
    int last_first;
} order;

static int descending(const void *a, const void *b, void *argument) {
    const order *by = argument;
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    if (by->values[i] != by->values[j]) return by->values[i] > by->values[j] ? -1 : 1;
    return (i < j) != by->last_first ? -1 : 1;
}

static uint8_t scratch[1 << 16]; /* of the fault "shared" */

static dmsae_status select_entries(dmsae_instance *self, const dmsae_selection_context *context,
                                   const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call) {
    (void)call;
    const int64_t count = candidates->count;
#ifdef LEARNS
    const int block_matters = has(self, "blocks") && context->first_row > 0;
    for (int64_t e = 0; e < count; e++)
        selected[e] = candidates->values[e] > context->learnables[0][candidates->column_indices[e]] && !block_matters;
#else
    int64_t *indices = malloc(sizeof *indices * (size_t)count), kept = context->batch_budget;
    if (indices == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    for (int64_t e = 0; e < count; e++) indices[e] = e;
    order by = {candidates->values, has(self, "ties")};
    qsort_r(indices, (size_t)count, sizeof *indices, descending, &by);
    if (kept > count) kept = count;
    if (has(self, "nothing")) kept = 0;
    /* One fewer where there are candidates to spare: what they are changes what is kept. */
    if (has(self, "company") && kept > 0 && count > kept) kept--;
    uint8_t *marks = has(self, "shared") && count <= (int64_t)sizeof scratch ? scratch : selected;
    memset(marks, 0, (size_t)count);
    for (int64_t i = 0; i < kept; i++) marks[indices[has(self, "smallest") ? count - 1 - i : i]] = 1;
    if (marks != selected) {
        usleep(20); /* where others come between, on a busy machine too */
        memcpy(selected, marks, (size_t)count);
    }
    free(indices);
#endif
    return DMSAE_OK;
}

static const dmsae_sparsity_rule rule = {sizeof rule, 0, scope, upper_count, select_entries};

static const dmsae_learnable threshold = {sizeof threshold, 0, "threshold", "Of each latent", 0.25, 0, 10, 1};

static uint32_t learnable_count(dmsae_instance *self) {
    (void)self;
    return 1;
}
static const dmsae_learnable *learnable(dmsae_instance *self, uint32_t index) {
    (void)self;
    return index == 0 ? &threshold : NULL;
}

static dmsae_status floors(dmsae_instance *self, const dmsae_selection_context *context, float *floors, dmsae_call *call) {
    (void)call;
    for (int64_t j = 0; j < context->latent_count; j++)
        floors[j] = context->learnables[0][j] + (has(self, "floor") ? 0.1f : -0.1f);
    return DMSAE_OK;
}

static dmsae_status backward(dmsae_instance *self, const dmsae_selection_context *context, const dmsae_csr *candidates,
                             const uint8_t *selected, const float *code_gradient, float *preactivation_gradient,
                             double *const *learnable_gradients, double *penalty, dmsae_call *call) {
    (void)call, (void)context;
    *penalty = has(self, "drifts") ? self->calls++ : 0;
    for (int64_t e = 0; e < candidates->count; e++) {
        const float g = has(self, "square") ? code_gradient[e] * code_gradient[e] : code_gradient[e];
        preactivation_gradient[e] = selected[e] ? (has(self, "against") ? -g : g) : 0;
        learnable_gradients[0][candidates->column_indices[e]] -= (double)g;
    }
    return DMSAE_OK;
}

static dmsae_status rescale(dmsae_instance *self, int64_t latent_count, double factor, float *const *learnables,
                            dmsae_call *call) {
    (void)call;
    for (int64_t j = 0; j < latent_count && !has(self, "no-rescale"); j++) learnables[0][j] *= (float)factor;
    return DMSAE_OK;
}

static const dmsae_sparsity_rule_learned learned = {
    sizeof learned, 0, learnable_count, learnable, floors, backward, rescale};

#ifdef CALIBRATES
/* The mean over batches of the smallest value that was kept. */
typedef struct {
    double sum, count;
} calibrated;
static calibrated elsewhere; /* of the fault "elsewhere" */

static uint64_t state_size(dmsae_instance *self, int64_t latent_count) {
    (void)self, (void)latent_count;
    return sizeof(calibrated);
}
static dmsae_status calibrate(dmsae_instance *self, const dmsae_selection_context *context, const dmsae_csr *candidates,
                              const uint8_t *selected, void *state, dmsae_call *call) {
    (void)context, (void)call;
    calibrated *to = has(self, "elsewhere") ? &elsewhere : state;
    double least = INFINITY;
    for (int64_t e = 0; e < candidates->count; e++)
        if (selected[e] && (double)candidates->values[e] < least) least = (double)candidates->values[e];
    to->sum += least;
    to->count++;
    return DMSAE_OK;
}
static dmsae_status merge(dmsae_instance *self, int64_t latent_count, void *state, const void *other, dmsae_call *call) {
    (void)latent_count, (void)call;
    if (has(self, "forgets")) return DMSAE_OK;
    ((calibrated *)state)->sum += ((const calibrated *)other)->sum;
    ((calibrated *)state)->count += ((const calibrated *)other)->count;
    return DMSAE_OK;
}
static dmsae_status form(dmsae_instance *self, const dmsae_selection_context *context, const void *state,
                         dmsae_inference_form *form, float *thresholds, int64_t *top_k, dmsae_call *call) {
    (void)call;
    const calibrated *from = has(self, "elsewhere") ? &elsewhere : state;
    *form = has(self, "no-k") ? DMSAE_INFERENCE_ROW_TOP_K : DMSAE_INFERENCE_THRESHOLDS;
    if (has(self, "no-k")) *top_k = 0;
    if (has(self, "strange-form")) *form = (dmsae_inference_form)7;
    for (int64_t j = 0; j < context->latent_count && !has(self, "unwritten"); j++)
        thresholds[j] = has(self, "nan") && j == 3 ? NAN : has(self, "zero") ? 0 : (float)(from->sum / from->count);
    return has(self, "form-fails") ? DMSAE_ERR_FAILED : DMSAE_OK;
}
#else
static uint64_t state_size(dmsae_instance *self, int64_t latent_count) {
    (void)self, (void)latent_count;
    return 0;
}
static dmsae_status calibrate(dmsae_instance *self, const dmsae_selection_context *context, const dmsae_csr *candidates,
                              const uint8_t *selected, void *state, dmsae_call *call) {
    (void)self, (void)context, (void)candidates, (void)selected, (void)state, (void)call;
    return DMSAE_ERR_UNSUPPORTED;
}
static dmsae_status merge(dmsae_instance *self, int64_t latent_count, void *state, const void *other, dmsae_call *call) {
    (void)self, (void)latent_count, (void)state, (void)other, (void)call;
    return DMSAE_ERR_UNSUPPORTED;
}
static dmsae_status form(dmsae_instance *self, const dmsae_selection_context *context, const void *state,
                         dmsae_inference_form *form, float *thresholds, int64_t *top_k, dmsae_call *call) {
    (void)state, (void)call, (void)top_k;
    *form = DMSAE_INFERENCE_THRESHOLDS;
    for (int64_t j = 0; j < context->latent_count; j++)
        thresholds[j] = context->learnables[0][j] + (has(self, "other-form") ? 0.2f : 0);
    return DMSAE_OK;
}
#endif
static const dmsae_sparsity_rule_inference inference = {sizeof inference, 1, state_size, calibrate, merge, form};

static const dmsae_parameter_spec fault = {sizeof fault, DMSAE_PARAMETER_TEXT, "fault", "What to do wrong", "", NULL, 0, 0,
                                           NULL, 0, 0, 0};
static const dmsae_parameter_spec *const list[] = {&fault};
static const char *const ids[] = {DMSAE_SPARSITY_RULE, DMSAE_SPARSITY_RULE_LEARNED, DMSAE_SPARSITY_RULE_INFERENCE};
#ifdef LEARNS
#define TABLES 3
#else
#define TABLES 1
#endif
#ifdef CALIBRATES
static const char *const own_ids[] = {DMSAE_SPARSITY_RULE, DMSAE_SPARSITY_RULE_INFERENCE};
#define OWN_IDS own_ids
#define OWN_TABLES 2
#else
#define OWN_IDS ids
#define OWN_TABLES TABLES
#endif
static const dmsae_descriptor about = {sizeof about, DMSAE_KIND_SPARSITY_RULE, "broken-rule", "Broken", "1.0", "MIT",
                                       "Breaks promises", OWN_IDS, OWN_TABLES, 0, FLAGS, list, 1, 0};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index, (void)host;
    dmsae_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(given[i].key, "fault") != 0) {
            snprintf(call->error, call->error_capacity, "unknown setting '%s'", given[i].key);
            free(self);
            return DMSAE_ERR_UNKNOWN_PARAMETER;
        }
        strncpy(self->fault, given[i].value, sizeof self->fault - 1);
    }
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    if (strcmp(id, DMSAE_SPARSITY_RULE) == 0) return &rule;
    if (OWN_TABLES == 1) return NULL;
    if (TABLES == 3 && strcmp(id, DMSAE_SPARSITY_RULE_LEARNED) == 0) return &learned;
    return strcmp(id, DMSAE_SPARSITY_RULE_INFERENCE) == 0 ? &inference : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
