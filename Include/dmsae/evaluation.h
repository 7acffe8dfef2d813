/* evaluation.h: what a scorer may ask of the host while it looks at a batch: the loss had the reconstruction been
 * another, the gradient there, and how active latents are in the whole pass.
 *
 * Since 0.1; dmsae.means/1 since 0.2; dmsae.eval/2, dmsae.grad/2 and dmsae.head/1 since 0.3. The tables are the host's, found by dmsae_host.get_extension, and are used from
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

/* ---- Metrics (since 0.3) ------------------------------------------------------------------------------------------
 *
 * What dmsae.eval/2 and dmsae.grad/2 measure the model's answer by: of a sequence M = Σ_t v_t·m_t over its tokens t, with the
 * plugin's weights v. h is the residual stream after a block, p_t the model's distribution of the token after t.
 */
DMSAE_ENUM(dmsae_metric_kind) {
    DMSAE_METRIC_LOSS = 1,             /* m = -log p_t(token t + 1), nats; 0 at the last token: what dmsae.eval/1 measures */
    DMSAE_METRIC_DIVERGENCE = 2,       /* m = Σ_v p°_v·log(p°_v / p_v), nats; p° is the model's own, with x in the place of x̂ */
    DMSAE_METRIC_LOGIT_DIFFERENCE = 3, /* m = logit of token_a less logit of token_b, after a soft cap, if the model has one */
    DMSAE_METRIC_DIRECTION = 4         /* m = ⟨direction, h_t⟩, h after block `layer`: what a linear probe reads there */
};

/* The plugin's, until the call returns. Grows at its end. What its kind does not name is not read. */
typedef struct dmsae_metric {
    uint32_t struct_size;
    dmsae_metric_kind kind;
    const float *DMSAE_NULLABLE weights;   /* v [N] of the batch's tokens, finite; null: 1 each */
    int32_t token_a;                       /* of LOGIT_DIFFERENCE */
    int32_t token_b;
    const float *DMSAE_NULLABLE direction; /* [d] of DIRECTION, finite */
    int32_t layer;                         /* of DIRECTION: from the hook point's block to the model's last */
    uint32_t reserved;
} dmsae_metric;
#define DMSAE_METRIC_SIZE_V3 40u

/* What the backward pass takes for constant; the forward pass is the same under every rule.
 *
 * RelP (arXiv:2508.21258): norms divide by constants, act(x) is x times the constant act(x)/x, a product of two gives each
 * factor half of the gradient. Soft caps differentiate as usual under every rule. */
DMSAE_ENUM(dmsae_backward_rule) {
    DMSAE_BACKWARD_PLAIN = 1,          /* the derivative: dmsae.grad/1 */
    DMSAE_BACKWARD_RELP = 2,           /* RelP */
    DMSAE_BACKWARD_RELP_PATTERN = 3,   /* RelP, and the weights of attention are constants too */
    DMSAE_BACKWARD_ATTENTION_ONLY = 4  /* the weights of attention alone are constants */
};

/* ---- dmsae.eval/2 (since 0.3) ------------------------------------------------------------------------------------- */
#define DMSAE_EVAL_2 "dmsae.eval/2"

/* Frozen. */
typedef struct dmsae_host_eval_2 {
    uint32_t struct_size;
    uint32_t reserved;

    /* As dmsae.eval/1's losses of another metric: `losses` of a group are m [T], `loss_change` is M after less M before.
     * [calling] [created]
     * Ownership: as dmsae.eval/1's; `metric` is the plugin's.
     * Errors: as dmsae.eval/1's; DMSAE_ERR_INVALID_ARGUMENT also for a kind, token or layer that is not there, and a number of
     *   the metric that is not finite; DMSAE_ERR_UNSUPPORTED where the host does not compute this of its model.
     * Since: 0.3
     *
     * DMSAE-EVAL-04  Budget, order, company and what comes before the first changed token are as in DMSAE-EVAL-01 and 02. A
     *                metric other than LOSS runs whole sequences, so an early edit costs what a late one does. */
    dmsae_status (*values)(const dmsae_host *host, const dmsae_scorer_batch *batch, const dmsae_metric *metric,
                           dmsae_edit_group *groups, int64_t group_count, const dmsae_edit *edits, int64_t edit_count,
                           dmsae_call *call);
} dmsae_host_eval_2;

/* ---- dmsae.grad/2 (since 0.3) -------------------------------------------------------------------------------------
 *
 * As dmsae.grad/1 with g(r) = ∂M/∂r at the reconstruction r [T, d], under a rule. A point's `loss` is M at r.
 */
#define DMSAE_GRAD_2 "dmsae.grad/2"

/* Frozen. */
typedef struct dmsae_host_grad_2 {
    uint32_t struct_size;
    uint32_t reserved;

    /* Gradients at given reconstructions. A point counts as one group of the budget.
     * [calling] [created]
     * Ownership: as dmsae.grad/1's at; `metric` is the plugin's.
     * Errors: as dmsae.eval/2's values; DMSAE_ERR_INVALID_ARGUMENT also for an unknown rule.  Since: 0.3 */
    dmsae_status (*at)(const dmsae_host *host, const dmsae_scorer_batch *batch, const dmsae_metric *metric,
                       dmsae_backward_rule rule, dmsae_gradient_point *points, int64_t point_count, dmsae_call *call);

    /* Weighted sums of gradients along lines, as dmsae.grad/1's along.
     * [calling] [created]
     * Ownership: as dmsae.grad/1's along; `metric` is the plugin's.
     * Errors: as at.  Since: 0.3 */
    dmsae_status (*along)(const dmsae_host *host, const dmsae_scorer_batch *batch, const dmsae_metric *metric,
                          dmsae_backward_rule rule, dmsae_gradient_path *paths, int64_t path_count, const double *alphas,
                          const double *weights, int64_t step_count, dmsae_call *call);
} dmsae_host_grad_2;

/* ---- dmsae.head/1 (since 0.3) -------------------------------------------------------------------------------------
 *
 * How a direction reaches the logits by itself: what δ, added to the stream h_t after the last block, adds to the logit of
 * token v is ⟨δ, u_v⟩ / σ_t to first order, with the division by σ_t held constant and any soft cap left out.
 */
#define DMSAE_HEAD "dmsae.head/1"

/* Frozen. */
typedef struct dmsae_host_head {
    uint32_t struct_size;
    uint32_t reserved;

    /* Writes u of some tokens: the rows of W_U times the final norm's weights, less the mean of their elements where that norm
     * takes it off. The token -1 stands for the mean row of all tokens.
     * [calling] [created]
     * Ownership: `tokens` [count] and `rows` [count, d] are the plugin's; the host writes `rows`.
     * Errors: DMSAE_ERR_INVALID_ARGUMENT for a token that the vocabulary does not have or another batch than the call's;
     *   DMSAE_ERR_UNSUPPORTED as dmsae.eval/2; DMSAE_CANCELLED; DMSAE_ERR_FAILED.  Since: 0.3 */
    dmsae_status (*rows)(const dmsae_host *host, const dmsae_scorer_batch *batch, const int32_t *tokens, int64_t count,
                         float *rows, dmsae_call *call);

    /* Writes σ of every token of the batch: what the final norm divides the stream by that follows from x̂. The first time it is
     * asked about a batch it costs the host a run from the hook point to the last block.
     * [calling] [created]
     * Ownership: `scales` [N] is the plugin's; the host writes it.
     * Errors: as rows.  Since: 0.3 */
    dmsae_status (*scales)(const dmsae_host *host, const dmsae_scorer_batch *batch, float *scales, dmsae_call *call);
} dmsae_host_head;

DMSAE_END

#endif
