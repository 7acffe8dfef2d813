/* sparsity_rule.h: which positive pre-activations a batch of tokens keeps.
 *
 * p = ReLU((x - b_dec) W_enc + b_enc) is [B, F], B tokens by F latents, and never held whole: the host computes it in
 * tiles and keeps, of each scope that the rule declares, a superset of the upper_count largest positive entries. These
 * are the candidates. The rule says which of them stay; their values do not change.
 *
 * Rationale: there is no mask of latents. What must not be selected (an exempt core, latents outside a dead set) is not
 * among the candidates, so a rule cannot forget to look. There is no two-phase form for a batch that is spread over
 * machines either: a host that spreads one gathers the candidates, which are few, and asks once. Schedules are
 * functions of context->step inside upper_count, select and backward, so nothing else has to be told of them.
 */
#ifndef DMSAE_SPARSITY_RULE_H
#define DMSAE_SPARSITY_RULE_H

#include "entry.h"
#include "tensor.h"
#include "types.h"

DMSAE_BEGIN

/* Which entries compete with each other for a place. */
DMSAE_ENUM(dmsae_selection_scope) {
    DMSAE_SCOPE_ROW = 1,   /* those of one token: TopK. Candidates may come in blocks of rows */
    DMSAE_SCOPE_BATCH = 2, /* those of the whole batch: BatchTopK. Candidates come in one call */
    DMSAE_SCOPE_ALL = 3    /* none: the rule sees every positive entry, in blocks of rows: ReLU, JumpReLU */
};

/* What a selection is for. */
DMSAE_ENUM(dmsae_selection_mode) {
    DMSAE_MODE_TRAIN = 1,     /* a training step */
    DMSAE_MODE_CALIBRATE = 2, /* measuring a threshold on fixed parameters */
    DMSAE_MODE_INFER = 3      /* applying a trained SAE */
};

/* What a rule is told. The host's, valid until the call returns. Grows at its end. */
typedef struct dmsae_selection_context {
    uint32_t struct_size;
    dmsae_selection_mode mode;
    int64_t step;            /* training step, from 0 */
    int64_t total_steps;     /* all training steps; 0: not known */
    int64_t batch_rows;      /* B: tokens of the whole batch, of which the candidates may be a block of rows */
    int64_t first_row;       /* row of the batch that row 0 of the candidates is */
    int64_t latent_count;    /* F */
    double mean_active;      /* k: how many latents a token may keep on average */
    int64_t batch_budget;    /* entries that may be kept in the batch: k·B, less what a dense core used; may be 0 */
    int64_t core_begin;      /* the core is the latents core_begin <= j < core_end */
    int64_t core_end;
    uint32_t core_is_exempt; /* 1: none of the core is among the candidates and all of it is kept; 0: it competes */
    uint32_t reserved;
    /* Since 0.1: the tensors of dmsae.sparsity_rule.learned/1 in their order, [learnable_count], each [F], read-only.
     * Null and 0 for a rule without that table. */
    const float *DMSAE_NONNULL const *DMSAE_NULLABLE learnables;
    uint32_t learnable_count;
    uint32_t reserved2;
    /* Since 0.3: the ends m_1 < ... < m_n = F of the Matryoshka SAE's groups, [prefix_count], at least one, the core in
     * whichever it lies in: latent j is of group g, the least with j < prefix_widths[g]. Where the loss has a prefix for the
     * core alone, that is the first. */
    const int64_t *prefix_widths;
    int64_t prefix_count;
    /* Since 0.3: θ [F] of a form that was calibrated, in DMSAE_MODE_INFER; else, and for a form without thresholds, null. */
    const float *DMSAE_NULLABLE thresholds;
} dmsae_selection_context;
#define DMSAE_SELECTION_CONTEXT_SIZE_V0 88u

/* ---- dmsae.sparsity_rule/1 -------------------------------------------------------------------------------------- */
#define DMSAE_SPARSITY_RULE "dmsae.sparsity_rule/1"

/* Frozen. */
typedef struct dmsae_sparsity_rule {
    uint32_t struct_size;
    uint32_t reserved;

    /* Which entries compete; the same for the instance's whole life.
     * [any] [created]
     * Errors: none.  Since: 0.0 */
    dmsae_selection_scope (*scope)(dmsae_instance *instance);

    /* Writes the most entries that select may keep in one scope, under this context: in one row, or in the batch. It is
     * not asked for DMSAE_SCOPE_ALL.
     * [worker] [created]
     * Ownership: `count` is the host's.
     * Errors: any status, with text in `call`.  Since: 0.0
     *
     * DMSAE-RULE-01  Not negative; more than there are entries is legal and means all. A function of the context's
     *                fields other than first_row. */
    dmsae_status (*upper_count)(dmsae_instance *instance, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call);

    /* Sets selected[e] to 1 for every candidate to keep, in CSR order.
     * [worker] [created]
     * Ownership: `selected` [candidates->count] is the host's, all 0 at first.
     * Errors: any status, with text in `call`.  Since: 0.0
     *
     * DMSAE-RULE-02  Candidates are positive and finite (DMSAE-CSR-03). They hold at least the upper_count largest of
     *                each scope, or all if there are fewer, and may hold others; columns count from latent 0.
     * DMSAE-RULE-03  At most upper_count entries of a scope are set, each to 1. The host checks.
     * DMSAE-RULE-04  Among equal values the lower row comes first, then the lower column: the one first in CSR order.
     * DMSAE-RULE-05  The result depends on the context, the candidates and the parameters alone, and not on which
     *                candidates beyond the upper_count largest there are. Schedules are functions of step, so a run
     *                resumes without a history.
     * DMSAE-RULE-06  The host makes no call where there is no candidate. */
    dmsae_status (*select)(dmsae_instance *instance, const dmsae_selection_context *context,
                           const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call);
} dmsae_sparsity_rule;

/* ---- dmsae.sparsity_rule.learned/1 (since 0.1) --------------------------------------------------------------------
 *
 * For rules with parameters that train, as JumpReLU: f = p·H(p - θ), one threshold θ_j a latent. H has no gradient,
 * so the rule supplies a surrogate. With ε the bandwidth and K(u) = 1 for |u| < 1/2, else 0 (arXiv:2407.14435):
 *
 *     ∂f/∂p = H(p - θ)      ∂f/∂θ = -(θ/ε)·K((p - θ)/ε)      ∂H(p - θ)/∂θ = -(1/ε)·K((p - θ)/ε)
 *
 * For example θ = 0.5, ε = 0.2, p = 0.45: (p - θ)/ε = -0.25, K = 1, so f = 0 and yet ∂f/∂θ = -2.5.
 *
 * The host owns the tensors, their optimiser state and their place in files. A step is:
 *
 *   floors -> the host collects every p above max(0, floor) -> select -> decode, ∂L/∂f -> backward -> Adam
 *
 * L is the host's loss of the batch, a mean over its B tokens; the rule adds its penalty, of the same scale, to it.
 *
 * DMSAE-LEARNED-08  A rule with this table has the scope DMSAE_SCOPE_ALL: its thresholds decide, not a rank.
 *
 * Rationale: one call for surrogate and penalty, because both look at the same entries; [F] is the only extent,
 * because no published rule learns anything else per model; a scalar is an [F] whose gradients the rule makes equal.
 */
#define DMSAE_SPARSITY_RULE_LEARNED "dmsae.sparsity_rule.learned/1"

/* One learnable tensor [F], described. The plugin's, valid until destroy. Grows at its end.
 *
 * DMSAE-LEARNED-01  `name` is the tensor's name in files: characters a-z, 0-9, '_', at least one, unique in the plugin.
 * DMSAE-LEARNED-02  minimum <= initial <= maximum, all finite. After every update the host clamps to the range.
 */
typedef struct dmsae_learnable {
    uint32_t struct_size;
    uint32_t reserved;
    const char *name;
    const char *description;       /* one line */
    double initial;                /* every element at the start */
    double minimum;
    double maximum;
    double learning_rate_multiple; /* of the training's learning rate; not negative */
} dmsae_learnable;
#define DMSAE_LEARNABLE_SIZE_V1 56u

/* Frozen. */
typedef struct dmsae_sparsity_rule_learned {
    uint32_t struct_size;
    uint32_t reserved;

    /* How many learnable tensors there are, at most 16; the same for the instance's whole life.
     * [any] [created]
     * Errors: none.  Since: 0.1 */
    uint32_t (*learnable_count)(dmsae_instance *instance);

    /* Describes tensor `index`, the same pointer each time; null if there is no such index.
     * [any] [created]
     * Ownership: the plugin's, valid until destroy.  Errors: null only.  Since: 0.1 */
    const dmsae_learnable *DMSAE_NULLABLE (*DMSAE_NONNULL learnable)(dmsae_instance *instance, uint32_t index);

    /* Writes, for each latent, the value at and below which a pre-activation is not a candidate.
     * [worker] [created]
     * Ownership: `floors` [F] is the host's; arbitrary bits before.  Errors: any status.  Since: 0.1
     *
     * DMSAE-LEARNED-03  Each is finite. In DMSAE_MODE_TRAIN floors leave in everything that backward looks at; in the
     *                   other modes everything that select may keep. What is negative counts as 0. */
    dmsae_status (*floors)(dmsae_instance *instance, const dmsae_selection_context *context, float *floors,
                           dmsae_call *call);

    /* Turns the gradient of the loss by the kept values into gradients by pre-activations and learnable tensors, and
     * adds the rule's own penalty.
     * [worker] [created]
     * Ownership: `candidates` (values p, all rows of the batch), `selected` [candidates->count] (what select set) and
     *   `code_gradient` [candidates->count] are the host's, read-only. code_gradient is ∂L/∂f, also where f = 0
     *   because the entry was not selected. `preactivation_gradient` [candidates->count] is the host's, arbitrary bits before.
     *   `learnable_gradients` [learnable_count], each [F], are the host's and 0 before: add to them. `penalty` is the
     *   host's.
     * Errors: any status.  Since: 0.1
     *
     * DMSAE-LEARNED-04  Written are: preactivation_gradient, every element; learnable_gradients, [F] each; the
     *                   penalty in the units of L. All finite. The penalty's gradients are in both.
     * DMSAE-LEARNED-05  Gradients are those of L + penalty under the rule's surrogate: finite differences of the
     *                   surrogate's smooth form agree with them. Outside the band they are 0 for θ.
     * DMSAE-LEARNED-06  A penalty that ramps up is a function of context->step. */
    dmsae_status (*backward)(dmsae_instance *instance, const dmsae_selection_context *context,
                             const dmsae_csr *candidates, const uint8_t *selected, const float *code_gradient,
                             float *preactivation_gradient,
                             double *DMSAE_NONNULL const *DMSAE_NULLABLE learnable_gradients, double *penalty,
                             dmsae_call *call);

    /* Changes the learnable tensors, in place, to fit pre-activations that have been multiplied by `factor` > 0: the
     * host folds the scale of its input into the SAE.
     * [worker] [created]
     * Ownership: `learnables` [learnable_count], each [latent_count], are the host's.  Errors: any status.  Since: 0.1
     *
     * DMSAE-LEARNED-07  In DMSAE_MODE_INFER, select after rescale on factor·p keeps what select before kept of p. */
    dmsae_status (*rescale)(dmsae_instance *instance, int64_t latent_count, double factor,
                            float *DMSAE_NONNULL const *DMSAE_NULLABLE learnables, dmsae_call *call);
} dmsae_sparsity_rule_learned;

/* ---- dmsae.sparsity_rule.inference/1 (since 0.1) ------------------------------------------------------------------
 *
 * The form in which a trained SAE is used without the plugin. For a rule without this table the host keeps an average
 * of the smallest value selected in a batch and exports it as one threshold for all latents, as for BatchTopK.
 *
 * Rationale: a closed list, so that a checkpoint stays usable by programs that have never heard of the plugin.
 */
#define DMSAE_SPARSITY_RULE_INFERENCE "dmsae.sparsity_rule.inference/1"

DMSAE_ENUM(dmsae_inference_form) {
    DMSAE_INFERENCE_THRESHOLDS = 1, /* f = p where p > max(0, thresholds[j]), else 0 */
    DMSAE_INFERENCE_ROW_TOP_K = 2   /* f = p for the top_k largest positive p of each row, ties by DMSAE-RULE-04 */
};

/* Frozen. */
typedef struct dmsae_sparsity_rule_inference {
    uint32_t struct_size;
    uint32_t state_version; /* DMSAE-STATE-05 */

    /* The bytes of state that calibration needs; 0 if the rule needs none, and then calibrate and merge are not called.
     * [any] [created]
     * Errors: none.  Since: 0.1 */
    uint64_t (*state_size)(dmsae_instance *instance, int64_t latent_count);

    /* Looks at one batch under fixed parameters; context->mode is DMSAE_MODE_CALIBRATE.
     * [worker] [created]
     * Ownership: as select; `state` is the host's (DMSAE-STATE).  Errors: any status.  Since: 0.1 */
    dmsae_status (*calibrate)(dmsae_instance *instance, const dmsae_selection_context *context,
                              const dmsae_csr *candidates, const uint8_t *selected, void *state, dmsae_call *call);

    /* Adds the state `other`, of the batches after those already in `state`.
     * [worker] [created]
     * Ownership: both are the host's; `other` is read-only.  Errors: any status.  Since: 0.1 */
    dmsae_status (*merge)(dmsae_instance *instance, int64_t latent_count, void *state, const void *other,
                          dmsae_call *call);

    /* Writes the form in which the SAE is to be used: `form`, and `thresholds` [F] or `top_k`.
     * [worker] [created]
     * Ownership: all outputs are the host's; arbitrary bits before. `state` is read-only.
     * Errors: any status.  Since: 0.1
     *
     * DMSAE-INFERENCE-01  Thresholds are finite; top_k is at least 1. What the form does not use may stay unwritten.
     * DMSAE-INFERENCE-02  The exported form keeps what select keeps in DMSAE_MODE_INFER. On hosts of 0.3 or newer select is
     *                     then told the form's own thresholds, in its context. */
    dmsae_status (*form)(dmsae_instance *instance, const dmsae_selection_context *context, const void *state,
                         dmsae_inference_form *form, float *thresholds, int64_t *top_k, dmsae_call *call);
} dmsae_sparsity_rule_inference;

DMSAE_END

#endif
