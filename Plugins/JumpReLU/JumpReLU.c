/* JumpReLU (Rajamanoharan et al., arXiv:2407.14435): f = p where p > θ_j, with a threshold for each latent that trains.
 *
 * The step has no gradient, so θ learns from the entries near it, by the straight-through estimators of the paper with
 * K(u) = 1 for |u| < 1/2, else 0, and the bandwidth ε:
 *
 *     ∂f/∂p = [p > θ]     ∂f/∂θ = -(θ/ε)·K((p - θ)/ε)     ∂L0/∂θ = -(1/(εB)) Σ_b K((p_b - θ)/ε)
 *
 * The penalty pulls the mean number L0 of active latents towards the training's k, from both sides:
 *
 *     penalty = λ·r(step)·(L0/k - 1)²,   r rising linearly to 1 over the first `warmup` of the steps
 *
 * Not the paper's λ·L0: its λ has to be found anew for every width, layer and scale, and users of this program name a
 * sparsity. The loss is a share of the variance of x and so is λ: at its default of 0.1 an L0 off by 10% costs 1e-3.
 */
#define DMSAE_ABI_MINOR_REQUIRED 1u
#include "dmsae/dmsae.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance {
    double bandwidth, lambda, warmup;
    dmsae_learnable threshold;
};

static dmsae_selection_scope scope(dmsae_instance *self) {
    (void)self;
    return DMSAE_SCOPE_ALL;
}

/* Not asked for this scope. */
static dmsae_status upper_count(dmsae_instance *self, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call) {
    (void)self, (void)call;
    *count = context->batch_rows * context->latent_count;
    return DMSAE_OK;
}

static dmsae_status no_thresholds(dmsae_call *call) {
    if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, "the context has no thresholds");
    return DMSAE_ERR_INVALID_ARGUMENT;
}

static dmsae_status select_entries(dmsae_instance *self, const dmsae_selection_context *context,
                                   const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    if (context->learnable_count < 1 || context->learnables == NULL) return no_thresholds(call);
    const float *theta = context->learnables[0];
    for (int64_t e = 0; e < candidates->count; e++)
        selected[e] = candidates->values[e] > theta[candidates->column_indices[e]];
    return DMSAE_OK;
}

static const dmsae_sparsity_rule rule = {sizeof rule, 0, scope, upper_count, select_entries};

static uint32_t learnable_count(dmsae_instance *self) {
    (void)self;
    return 1;
}

static const dmsae_learnable *learnable(dmsae_instance *self, uint32_t index) {
    return index == 0 ? &self->threshold : NULL;
}

static dmsae_status floors(dmsae_instance *self, const dmsae_selection_context *context, float *floors, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    if (context->learnable_count < 1 || context->learnables == NULL) return no_thresholds(call);
    /* A hair lower than the band: its edge is rounded in another way below. */
    const float half = context->mode == DMSAE_MODE_TRAIN ? (float)(self->bandwidth * 0.5001) : 0;
    for (int64_t j = 0; j < context->latent_count; j++) floors[j] = context->learnables[0][j] - half;
    return DMSAE_OK;
}

static dmsae_status backward(dmsae_instance *self, const dmsae_selection_context *context, const dmsae_csr *candidates,
                             const uint8_t *selected, const float *code_gradient, float *preactivation_gradient,
                             double *const *learnable_gradients, double *penalty, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    if (context->learnable_count < 1 || context->learnables == NULL || learnable_gradients == NULL)
        return no_thresholds(call);
    const float *theta = context->learnables[0];
    double *gradient = learnable_gradients[0];
    const double rows = (double)context->batch_rows, epsilon = self->bandwidth, k = context->mean_active;
    int64_t active = 0;
    for (int64_t e = 0; e < candidates->count; e++) active += selected[e];
    const double ramp_end = self->warmup * (double)context->total_steps;
    const double ramp = (double)context->step >= ramp_end ? 1 : (double)context->step / ramp_end;
    const double excess = (double)active / rows / k - 1, weight = self->lambda * ramp;
    *penalty = weight * excess * excess;
    const double penalty_by_active = 2 * weight * excess / k; /* ∂penalty/∂L0 */
    for (int64_t e = 0; e < candidates->count; e++) {
        const int32_t j = candidates->column_indices[e];
        const double distance = ((double)candidates->values[e] - (double)theta[j]) / epsilon;
        preactivation_gradient[e] = selected[e] ? code_gradient[e] : 0;
        if (distance > -0.5 && distance < 0.5)
            gradient[j] -= ((double)code_gradient[e] * (double)theta[j] + penalty_by_active / rows) / epsilon;
    }
    return DMSAE_OK;
}

static dmsae_status rescale(dmsae_instance *self, int64_t latent_count, double factor, float *const *learnables,
                            dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    if (learnables == NULL) return no_thresholds(call);
    for (int64_t j = 0; j < latent_count; j++) learnables[0][j] = (float)((double)learnables[0][j] * factor);
    return DMSAE_OK;
}

static const dmsae_sparsity_rule_learned learned = {
    sizeof learned, 0, learnable_count, learnable, floors, backward, rescale};

static uint64_t state_size(dmsae_instance *self, int64_t latent_count) {
    (void)self, (void)latent_count;
    return 0;
}

/* Not called for a state of no bytes. */
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
    (void)self, (void)state, (void)top_k;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    if (context->learnable_count < 1 || context->learnables == NULL) return no_thresholds(call);
    *form = DMSAE_INFERENCE_THRESHOLDS;
    memcpy(thresholds, context->learnables[0], sizeof *thresholds * (size_t)context->latent_count);
    return DMSAE_OK;
}

static const dmsae_sparsity_rule_inference inference = {sizeof inference, 1, state_size, calibrate, merge, form};

/* Thresholds and bandwidth are in units of pre-activations of inputs of mean square norm 1, which `train` makes. */
static const dmsae_parameter_spec
    threshold = {sizeof threshold, DMSAE_PARAMETER_NUMBER, "threshold", "Every threshold at the start", "0.1", NULL, 0, 1e6,
                 NULL, 0, 0, 0},
    bandwidth = {sizeof bandwidth, DMSAE_PARAMETER_NUMBER, "bandwidth", "Width of the band around a threshold that moves it",
                 "0.05", NULL, 1e-6, 1e6, NULL, 0, 0, 0},
    lambda = {sizeof lambda, DMSAE_PARAMETER_NUMBER, "lambda", "Weight of the penalty (L0/k - 1)^2", "0.1", NULL, 0, 1e6, NULL,
              0, 0, 0},
    warmup = {sizeof warmup, DMSAE_PARAMETER_NUMBER, "warmup", "Share of the steps over which the penalty sets in", "0.1",
              NULL, 0, 1, NULL, 0, 0, 0},
    rate = {sizeof rate, DMSAE_PARAMETER_NUMBER, "rate", "Learning rate of the thresholds, as a multiple of the training's", "1",
            NULL, 0, 1e6, NULL, 0, 0, 0};
static const dmsae_parameter_spec *const parameters[] = {&threshold, &bandwidth, &lambda, &warmup, &rate};

static const char *const extensions[] = {DMSAE_SPARSITY_RULE, DMSAE_SPARSITY_RULE_LEARNED, DMSAE_SPARSITY_RULE_INFERENCE};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SPARSITY_RULE, "jumprelu", "JumpReLU", "1.0.0", "Apache-2.0",
    "Keeps what exceeds a threshold of its latent, which trains towards a mean of k active latents",
    extensions, 3, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT, parameters, 5, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 1},
     "plugins": [
        {"id": "jumprelu", "kind": "sparsity-rule", "version": "1.0.0", "license": "Apache-2.0", "description":
          "Keeps what exceeds a threshold of its latent, which trains towards a mean of k active latents",
          "extensions": ["dmsae.sparsity_rule/1", "dmsae.sparsity_rule.learned/1", "dmsae.sparsity_rule.inference/1"
          ], "flags": ["deterministic", "reentrant"], "parameters": [{"default": "0.1", "description":
          "Every threshold at the start", "key": "threshold", "maximum": 1000000, "minimum": 0, "type": "number"}, {
          "default": "0.05", "description": "Width of the band around a threshold that moves it", "key": "bandwidth"
          , "maximum": 1000000, "minimum": 1e-06, "type": "number"}, {"default": "0.1", "description":
          "Weight of the penalty (L0/k - 1)^2", "key": "lambda", "maximum": 1000000, "minimum": 0, "type": "number"
          }, {"default": "0.1", "description": "Share of the steps over which the penalty sets in", "key": "warmup",
          "maximum": 1, "minimum": 0, "type": "number"}, {"default": "1", "description":
          "Learning rate of the thresholds, as a multiple of the training's", "key": "rate", "maximum": 1000000,
          "minimum": 0, "type": "number"}]}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index, (void)host;
    dmsae_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    double values[5];
    for (int i = 0; i < 5; i++) values[i] = strtod(parameters[i]->default_value, NULL);
    for (uint32_t i = 0; i < count; i++) {
        int which = 0;
        while (which < 5 && strcmp(given[i].key, parameters[which]->key) != 0) which++;
        char *end = NULL;
        if (which < 5) values[which] = strtod(given[i].value, &end);
        if (which < 5 && *end == 0 && end != given[i].value && values[which] >= parameters[which]->minimum &&
            values[which] <= parameters[which]->maximum)
            continue;
        if (call->error_capacity > 0)
            snprintf(call->error, call->error_capacity,
                     which < 5 ? "%s is '%s', which is not a number in its range"
                               : "unknown parameter '%s' (%s); jumprelu takes threshold, bandwidth, lambda, warmup, rate",
                     given[i].key, given[i].value);
        free(self);
        return which < 5 ? DMSAE_ERR_INVALID_ARGUMENT : DMSAE_ERR_UNKNOWN_PARAMETER;
    }
    self->bandwidth = values[1];
    self->lambda = values[2];
    self->warmup = values[3];
    self->threshold = (dmsae_learnable){
        sizeof self->threshold, 0, "threshold", "What a latent's pre-activation must exceed", values[0], 0, 1e30, values[4]};
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    if (strcmp(id, DMSAE_SPARSITY_RULE) == 0) return &rule;
    if (strcmp(id, DMSAE_SPARSITY_RULE_LEARNED) == 0) return &learned;
    return strcmp(id, DMSAE_SPARSITY_RULE_INFERENCE) == 0 ? &inference : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
