/* evaluation.h: what a scorer may ask of the host while it looks at a batch: the loss had the reconstruction been
 * another, the gradient there, and how active latents are in the whole pass.
 *
 * Since 0.1; dmsae.means/1 since 0.2. The tables are the host's, found by dmsae_host.get_extension, and are used from
 * within `score` or `accumulate`, about the batch of that call.
 *
 * Each request is about one sequence of the batch. x̂ is the batch's `reconstruction`; positions with scored = 0 keep
 * the model's own residual whatever is asked, and edits there do nothing. T is the length of the sequence.
 *
 * Attention is causal: an edit at token t changes no loss before t, and the host starts there. A plugin that gives many
 * groups in one call lets the host share one forward pass among them.
 */
#ifndef DMSAE_EVALUATION_H
#define DMSAE_EVALUATION_H

#include "host.h"
#include "scorer.h"
#include "types.h"

DMSAE_BEGIN

/* ---- dmsae.eval/1 ----------------------------------------------------------------------------------------------- */
#define DMSAE_EVAL "dmsae.eval/1"

/* What happens to the latent's activation a = f[t, j], and so to x̂_t += (a' - a)·W_dec[j]. */
DMSAE_ENUM(dmsae_edit_operation) {
    DMSAE_EDIT_SCALE = 1, /* a' = value · a; value 0 ablates. Tokens where the latent is inactive stay as they are */
    DMSAE_EDIT_SET = 2,   /* a' = value, at every scored token of the range, active or not */
    DMSAE_EDIT_ROWS = 3   /* x̂_t = rows[t - first_token], at every scored token of the range; latent is not read */
};

/* One change of x̂ in the tokens first_token <= t < end_token, counted in the batch. Array element: frozen. */
typedef struct dmsae_edit {
    int64_t first_token;
    int64_t end_token;
    int32_t latent; /* column of codes, row of decoder */
    dmsae_edit_operation operation;
    float value;
    uint32_t reserved;
    const float *DMSAE_NULLABLE rows; /* [end_token - first_token, d] the plugin's; null unless DMSAE_EDIT_ROWS */
    uint64_t reserved2;
} dmsae_edit;

/* The edits of one sequence that act together, in their order, and what they lead to. Array element: frozen. */
typedef struct dmsae_edit_group {
    int64_t sequence;             /* of the batch */
    int64_t first_edit;           /* its edits are edits[first_edit ..< first_edit + edit_count] */
    int64_t edit_count;           /* 0 is legal and changes nothing */
    float *DMSAE_NULLABLE losses; /* [T] the plugin's, or null; written: nats, token t predicting t + 1, last one 0 */
    double loss_change;           /* written: Σ_t (loss after - loss before) of the sequence, in nats */
    uint64_t reserved[2];
} dmsae_edit_group;

/* Frozen. */
typedef struct dmsae_host_eval {
    uint32_t struct_size;
    uint32_t reserved;

    /* The losses of edited reconstructions; writes `losses` and `loss_change` of every group.
     * [calling] [created]
     * Ownership: `groups` [group_count] and `edits` [edit_count] are the plugin's; the host writes only what is marked
     *   "written".
     * Errors: DMSAE_ERR_INVALID_ARGUMENT for a sequence, token or latent that is not in the batch, an unknown
     *   operation, an edit outside its group's sequence, a value that is not finite; DMSAE_BUDGET_EXHAUSTED if
     *   group_count is more than `remaining`: then nothing was evaluated; DMSAE_CANCELLED; DMSAE_ERR_FAILED.
     * Since: 0.1
     *
     * DMSAE-EVAL-01  Groups do not see each other. Order and company of groups change losses by rounding only, to
     *                1e-5 of the largest loss; the same call gives the same bits.
     * DMSAE-EVAL-02  Losses before the first changed token are those of the batch, bit for bit.
     * DMSAE-EVAL-03  A plugin returns DMSAE_CANCELLED when this does, and may finish with less when the budget is
     *                spent. */
    dmsae_status (*losses)(const dmsae_host *host, const dmsae_scorer_batch *batch, dmsae_edit_group *groups,
                           int64_t group_count, const dmsae_edit *edits, int64_t edit_count, dmsae_call *call);

    /* How many groups a call should carry to be cheap; at least 1. More is legal.
     * [calling] [created]
     * Errors: none.  Since: 0.1 */
    int64_t (*preferred_groups)(const dmsae_host *host);

    /* How many groups may still be evaluated in this pass; INT64_MAX without a limit.
     * [calling] [created]
     * Errors: none.  Since: 0.1 */
    int64_t (*remaining)(const dmsae_host *host);
} dmsae_host_eval;

/* ---- dmsae.grad/1 ------------------------------------------------------------------------------------------------
 *
 * g(r) = ∂(Σ losses of the sequence) / ∂r at the reconstruction r [T, d]; dmsae_scorer_batch.gradient is g(x̂),
 * which is not 0 where scored is 0; what this table writes is.
 */
#define DMSAE_GRAD "dmsae.grad/1"

/* A reconstruction, and the gradient there. Array element: frozen. */
typedef struct dmsae_gradient_point {
    int64_t sequence;  /* of the batch */
    const float *rows; /* r [T, d] the plugin's; may be the batch's own */
    float *gradient;   /* [T, d] the plugin's; written: g(r), and 0 where scored is 0 */
    double loss;       /* written: Σ_t losses at r, in nats */
    uint64_t reserved[2];
} dmsae_gradient_point;

/* A straight line between two reconstructions. Array element: frozen. */
typedef struct dmsae_gradient_path {
    int64_t sequence;   /* of the batch */
    const float *base;  /* r_0 [T, d] the plugin's; may be the batch's own */
    const float *end;   /* r_1 [T, d] the plugin's; may be the batch's own */
    double *gradient;   /* [T, d] the plugin's; written: Σ_i weights[i]·g(r_0 + alphas[i]·(r_1 - r_0)), 0 where
                           scored is 0 */
    uint64_t reserved[2];
} dmsae_gradient_path;

/* Frozen. */
typedef struct dmsae_host_grad {
    uint32_t struct_size;
    uint32_t reserved;

    /* Gradients at given reconstructions. A point counts as one group of dmsae.eval/1's budget.
     * [calling] [created]
     * Ownership: all of it is the plugin's; the host writes only what is marked "written".
     * Errors: as dmsae.eval/1's losses.  Since: 0.1 */
    dmsae_status (*at)(const dmsae_host *host, const dmsae_scorer_batch *batch, dmsae_gradient_point *points,
                       int64_t point_count, dmsae_call *call);

    /* Weighted sums of gradients along lines; nothing of size steps × T × d is made. A step of a path counts as one
     * group of the budget. The midpoint rule with n steps is alphas[i] = (i + 1/2)/n, weights[i] = 1/n.
     * [calling] [created]
     * Ownership: as `at`; `alphas` and `weights` are [step_count], finite.
     * Errors: as dmsae.eval/1's losses.  Since: 0.1 */
    dmsae_status (*along)(const dmsae_host *host, const dmsae_scorer_batch *batch, dmsae_gradient_path *paths,
                          int64_t path_count, const double *alphas, const double *weights, int64_t step_count,
                          dmsae_call *call);
} dmsae_host_grad;

/* ---- dmsae.means/1 (since 0.2) ------------------------------------------------------------------------------------
 *
 * What a batch cannot know: mean ablation needs a latent's mean, and a sample that is drawn where a latent fires most
 * needs to know how much that is of all. A service and not a part of the batch, because it costs the host a run of the
 * model up to the hook over every sequence of the pass, once, when it is first asked.
 */
#define DMSAE_MEANS "dmsae.means/1"

/* Frozen. */
typedef struct dmsae_host_means {
    uint32_t struct_size;
    uint32_t reserved;

    /* Writes the mean of every candidate's activation over the scored tokens of the whole pass, of all its shards,
     * silent ones as 0, and how many tokens those are. The same numbers whichever batch is asked about.
     * [calling] [created]
     * Ownership: `means` [m] and `scored_tokens` are the plugin's; the host writes both.
     * Errors: DMSAE_ERR_INVALID_ARGUMENT for another batch than the call's; DMSAE_CANCELLED; DMSAE_ERR_FAILED, also where
     *   a pass is not known as a whole.
     * Since: 0.2 */
    dmsae_status (*activations)(const dmsae_host *host, const dmsae_scorer_batch *batch, double *means,
                                int64_t *scored_tokens, dmsae_call *call);
} dmsae_host_means;

DMSAE_END

#endif
