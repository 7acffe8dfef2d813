/* sparsity_rule.h: which positive pre-activations a batch of tokens keeps.
 *
 * p = ReLU((x - b_dec) W_enc + b_enc) is [B, F], B tokens by F latents, and never held whole: the host computes it in
 * tiles and keeps, of each scope that the rule declares, a superset of the upper_count largest positive entries. These
 * are the candidates. The rule says which of them stay; their values do not change.
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

DMSAE_END

#endif
