/* A scorer that accumulates, with the faults that its table and its requests to the host can have: fault=NAME. */
#define DMSAE_ABI_MINOR_REQUIRED 1u
#define ID "accumulating"
#define SUMMARY "Counts"
#ifndef FLAGS
#define FLAGS DMSAE_PLUGIN_NEEDS_EVALUATION
#endif
#include "accumulator.h"

#include <pthread.h>
#include <stdio.h>

static const dmsae_output count = {sizeof count, DMSAE_OUTPUT_LATENT, "count", "1", "Tokens", 1, -1, -1};
static const dmsae_output capital = {sizeof capital, DMSAE_OUTPUT_LATENT, "Count", "1", "Tokens", 1, -1, -1};
static const dmsae_output taken = {sizeof taken, DMSAE_OUTPUT_LATENT, "scores", "1", "Tokens", 1, -1, -1};
static const dmsae_output wide = {sizeof wide, DMSAE_OUTPUT_LATENT_SEQUENCE, "count", "1", "Tokens", 1, -1, -1};
static const dmsae_output strange = {sizeof strange, (dmsae_output_shape)9, "count", "1", "Tokens", 1, -1, -1};
static const dmsae_output unitless = {sizeof unitless, DMSAE_OUTPUT_LATENT, "count", "", "Tokens", 1, -1, -1};
static const dmsae_output circular = {sizeof circular, DMSAE_OUTPUT_LATENT, "count", "1", "Tokens", 1, 0, -1};
static const dmsae_output roles = {
    sizeof roles, DMSAE_OUTPUT_LATENT, "count", "1", "Tokens", DMSAE_OUTPUT_TERMS | DMSAE_OUTPUT_SIZE, -1, -1};
static const dmsae_output total = {sizeof total, DMSAE_OUTPUT_LATENT, "count", "1", "Tokens", DMSAE_OUTPUT_TERMS, -1, -1};
static const dmsae_output alone = {
    sizeof alone, DMSAE_OUTPUT_LATENT_SEQUENCE, "sizes", "1", "Sizes", DMSAE_OUTPUT_SIZE, -1, -1};
static const dmsae_output small = {16, DMSAE_OUTPUT_LATENT, "count", "1", "Tokens", 1, -1, -1};

static uint32_t output_count(dmsae_instance *self) {
    return has(self, "none") ? 0 : has(self, "many") ? 65 : has(self, "twice") || has(self, "alone") ? 2 : 1;
}

static const dmsae_output *output(dmsae_instance *self, uint32_t index) {
    (void)index;
    if (has(self, "null")) return NULL;
    if (has(self, "capital")) return &capital;
    if (has(self, "taken")) return &taken;
    if (has(self, "wide")) return &wide;
    if (has(self, "strange")) return &strange;
    if (has(self, "unitless")) return &unitless;
    if (has(self, "circular")) return &circular;
    if (has(self, "roles")) return &roles;
    if (has(self, "total")) return &total;
    if (has(self, "alone") && index == 1) return &alone;
    if (has(self, "small")) return &small;
    return &count;
}

static dmsae_status state_size(dmsae_instance *self, const dmsae_scoring_plan *plan, uint64_t *bytes, dmsae_call *call) {
    (void)call;
    *bytes = has(self, "huge") ? UINT64_MAX : has(self, "petabyte") ? 1ull << 50 : 8 * (uint64_t)plan->latent_count;
    return DMSAE_OK;
}

static dmsae_status begin(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, dmsae_call *call) {
    (void)self;
    for (int64_t j = 0; j < plan->latent_count; j++)
        if (((int64_t *)state)[j] != 0 || (uintptr_t)state % 64 != 0) {
            snprintf(call->error, call->error_capacity, "DMSAE-STATE-01");
            return DMSAE_ERR_FAILED;
        }
    return DMSAE_OK;
}

struct request {
    const dmsae_host *host;
    const dmsae_host_eval *eval;
    const dmsae_scorer_batch *batch;
    dmsae_call *call;
    dmsae_status status;
};

static void *ask(void *argument) {
    struct request *request = argument;
    request->status = request->eval->losses(request->host, request->batch, NULL, 0, NULL, 0, request->call);
    return NULL;
}

/* Rows with one number that is none, in asks for losses, gradients at points and along paths. */
static dmsae_status ask_about_rows(dmsae_instance *self, const dmsae_host_eval *eval, const dmsae_host_grad *grad,
                                   const dmsae_scorer_batch *batch, dmsae_call *call) {
    const int64_t d = batch->decoder->shape[1], T = batch->sequence_offsets[1];
    float *rows = malloc(sizeof *rows * T * d), *gradient = malloc(sizeof *gradient * T * d);
    double *sum = malloc(sizeof *sum * T * d);
    memcpy(rows, batch->reconstruction->data, sizeof *rows * T * d);
    rows[3 * d + 1] = has(self, "rows-infinite") ? -INFINITY : NAN;
    if (has(self, "rows-unscored")) rows[3 * d + 1] = 0, rows[0] = NAN; /* position 0 is not scored, and not read */
    const float *base = has(self, "path-base") ? rows : batch->reconstruction->data;
    const float *end = has(self, "path-end") ? rows : batch->reconstruction->data;
    double alpha = has(self, "alpha") ? NAN : 0.5, weight = has(self, "weight") ? INFINITY : 1;
    dmsae_gradient_path path = {.base = base, .end = end, .gradient = sum};
    dmsae_gradient_point point = {.rows = has(self, "point-null") ? NULL : rows, .gradient = gradient};
    dmsae_edit edit = {.end_token = T, .operation = DMSAE_EDIT_ROWS, .rows = rows};
    dmsae_edit_group group = {.edit_count = 1};
    dmsae_status status;
    if (strncmp(self->fault, "path", 4) == 0 || has(self, "alpha") || has(self, "weight"))
        status = grad->along(self->host, batch, &path, 1, &alpha, &weight, 1, call);
    else if (has(self, "steps"))
        status = grad->along(self->host, batch, &path, 1, &alpha, &weight, INT64_MIN, call);
    else if (strncmp(self->fault, "point", 5) == 0)
        status = grad->at(self->host, batch, &point, 1, call);
    else
        status = eval->losses(self->host, batch, &group, 1, &edit, 1, call);
    free(rows), free(gradient), free(sum);
    return status;
}

static dmsae_status ask_badly(dmsae_instance *self, const dmsae_scorer_batch *batch, dmsae_call *call) {
    const dmsae_host_eval *eval = self->host->get_extension(self->host, DMSAE_EVAL);
    const dmsae_host_grad *grad = self->host->get_extension(self->host, DMSAE_GRAD);
    dmsae_edit edit = {.first_token = 0, .end_token = 1, .operation = DMSAE_EDIT_SCALE};
    dmsae_edit_group group = {.sequence = 0, .first_edit = 0, .edit_count = 1};
    if (has(self, "thread")) {
        struct request request = {self->host, eval, batch, call, DMSAE_OK};
        pthread_t thread;
        pthread_create(&thread, NULL, ask, &request);
        pthread_join(thread, NULL);
        return request.status;
    }
    if (has(self, "other-batch")) {
        dmsae_scorer_batch copy = *batch;
        return eval->losses(self->host, &copy, &group, 1, &edit, 1, call);
    }
    for (int i = 0; i < 10; i++) {
        static const char *const names[] = {"rows-nan", "rows-infinite", "rows-unscored", "path-base", "path-end",
                                            "alpha",    "weight",        "steps",         "point-nan", "point-null"};
        if (has(self, names[i])) return ask_about_rows(self, eval, grad, batch, call);
    }
    if (has(self, "value-nan")) edit.value = NAN;
    if (has(self, "value-infinite")) edit.operation = DMSAE_EDIT_SET, edit.value = INFINITY;
    if (has(self, "elsewhere")) edit.first_token = batch->sequence_offsets[1], edit.end_token = edit.first_token + 1;
    if (has(self, "empty-elsewhere")) edit.first_token = edit.end_token = batch->sequence_offsets[1] + 1;
    if (has(self, "operation")) edit.operation = (dmsae_edit_operation)7;
    if (has(self, "no-rows")) edit.operation = DMSAE_EDIT_ROWS;
    if (has(self, "token")) edit.end_token = INT64_MAX;
    if (has(self, "latent")) edit.latent = -3;
    if (has(self, "edits")) group.edit_count = 2;
    if (has(self, "overflow")) group.first_edit = 1, group.edit_count = INT64_MAX;
    if (has(self, "sequence")) group.sequence = -1;
    if (has(self, "negative")) return eval->losses(self->host, batch, &group, -1, &edit, 1, call);
    if (has(self, "point")) {
        dmsae_gradient_point point = {.sequence = 1000};
        return grad->at(self->host, batch, &point, 1, call);
    }
    if (has(self, "flush")) { /* the host computes in its own modes, whatever the plugin's are */
#if defined(__x86_64__)
        __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#endif
    }
    return eval->losses(self->host, batch, &group, 1, &edit, 1, call);
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *state, dmsae_call *call) {
    (void)plan;
    for (int64_t e = 0; e < batch->codes->count; e++) ((int64_t *)state)[batch->codes->column_indices[e]]++;
    return self->fault[0] == '?' || strlen(self->fault) == 0 ? DMSAE_OK : ask_badly(self, batch, call);
}

static dmsae_status merge(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call) {
    (void)call;
    if (strcmp(self->fault, "?forgets") == 0) return DMSAE_OK;
    for (int64_t j = 0; j < plan->latent_count; j++) ((int64_t *)state)[j] += ((const int64_t *)other)[j];
    return DMSAE_OK;
}

static dmsae_status finish(dmsae_instance *self, const dmsae_scoring_plan *plan, const void *state,
                           double *const *outputs, dmsae_call *call) {
    (void)call;
    static int calls;
    if (strcmp(self->fault, "?again") == 0 && calls++ > 0) {
        for (int64_t j = 0; j < plan->latent_count; j++) outputs[0][j] = calls;
        return DMSAE_OK;
    }
    for (int64_t j = 0; j < plan->latent_count; j++)
        if (!(strcmp(self->fault, "?unwritten") == 0 && j == 3)) outputs[0][j] = (double)((const int64_t *)state)[j];
    if (strcmp(self->fault, "?infinite") == 0) outputs[0][2] = -INFINITY;
    if (strcmp(self->fault, "?nan") == 0) outputs[0][2] = NAN;
    return DMSAE_OK;
}
