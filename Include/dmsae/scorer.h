/* scorer.h: how much each active latent matters to the next-token loss.
 *
 * Conventions, for every scorer:
 *
 *   Loss      next-token cross-entropy in nats; token t predicts token t + 1 of its sequence.
 *   Splice    at the hook point the model's residual stream x_t is replaced by the SAE's reconstruction x̂_t.
 *   Gradient  g_t = ∂(Σ losses of the sequence) / ∂x̂_t, in nats per unit of x̂.
 *   Sign      a POSITIVE score means that the latent helps: removing it raises the loss.
 *
 * Removing latent j at token t changes x̂_t by -a·w, with a = f[t, j] > 0 and w = W_dec[j]; so to first order the loss
 * rises by -a·⟨g, w⟩. Gradient × activation is that with the unit direction:
 *
 *     score[t, j] = -a · ⟨g_t, ŵ_j⟩,   ŵ_j = w / |w|
 *
 * For example a = 2, w = (3, 4), g = (0.1, -0.2): |w| = 5, ŵ = (0.6, 0.8), ⟨g, ŵ⟩ = -0.1, score = +0.2.
 */
#ifndef DMSAE_SCORER_H
#define DMSAE_SCORER_H

#include "entry.h"
#include "tensor.h"
#include "types.h"

DMSAE_BEGIN

/* What was put in place of x_t where a token is scored. */
DMSAE_ENUM(dmsae_splice_mode) {
    DMSAE_SPLICE_RECONSTRUCTION = 1,           /* x̂ */
    DMSAE_SPLICE_RECONSTRUCTION_PLUS_ERROR = 2 /* x̂ + (x - x̂), the SAE's error held constant */
};

/* Where in block `layer` x stands, under TransformerLens' names. Since 0.3. */
DMSAE_ENUM(dmsae_hook) {
    DMSAE_HOOK_RESID_PRE = 1, /* blocks.L.hook_resid_pre: the residual stream that enters the block */
    DMSAE_HOOK_ATTN_OUT = 2,  /* blocks.L.hook_attn_out: what attention adds to the stream */
    DMSAE_HOOK_MLP_OUT = 3,   /* blocks.L.hook_mlp_out: what the perceptron adds to the stream */
    DMSAE_HOOK_RESID_POST = 4 /* blocks.L.hook_resid_post: the residual stream that the block hands on */
};

/* Before it encodes, the SAE subtracts b_dec from x: s = 1 in DMSAE-SCORER-12, else 0. Since 0.3. */
#define DMSAE_BATCH_SUBTRACTS_DECODER_BIAS 0x1ull

/* What one call sees: a few whole sequences, one after the other.
 *
 * N tokens = codes->rows, m candidate latents = codes->columns, d = d_model, S sequences.
 * All of it is the host's, read-only, valid until the call returns (DMSAE-TENSOR-01). Grows at its end.
 *
 * DMSAE-SCORER-01  Every entry of `codes` is positive. A token that is not scored has no entry.
 * DMSAE-SCORER-02  gradient is not null if the plugin declares DMSAE_PLUGIN_NEEDS_GRADIENT.
 * DMSAE-SCORER-12  To a plugin that declares DMSAE_PLUGIN_NEEDS_ENCODER encoder and encoder_bias are not null, and either
 *                  thresholds are not null or top_k is positive. With p = ⟨x_t - s·b_dec, W_enc[j]⟩ + b_enc[j] the codes of a
 *                  scored token are f = p where p > max(0, thresholds[j]), or the top_k largest positive p of the token, taken
 *                  over all of the SAE's latents, of which the batch has the first m. To 1e-5 of the token's largest |p|.
 * DMSAE-SCORER-13  To a plugin that declares DMSAE_PLUGIN_NEEDS_TARGET_PROBABILITIES, target_probabilities are not null.
 * DMSAE-SCORER-14  A document begins with each sequence, after each of the model's end-of-text tokens, and with each of its
 *                  beginning-of-text tokens that is no end-of-text token. Attention goes across, from later ones to earlier
 *                  ones. Padding belongs to what it stands behind.
 */
typedef struct dmsae_scorer_batch {
    uint32_t struct_size;
    dmsae_splice_mode splice_mode;
    const dmsae_csr *codes;                        /* f [N, m] activations */
    const dmsae_tensor *decoder;                   /* W_dec [m, d], rows of any norm */
    const dmsae_tensor *decoder_bias;              /* b_dec [d] */
    const dmsae_tensor *residual;                  /* x [N, d] the model's own residual stream */
    const dmsae_tensor *reconstruction;            /* x̂ [N, d] what was spliced in */
    const dmsae_tensor *DMSAE_NULLABLE gradient;   /* g [N, d] nats per unit of x̂ */
    const float *loss;               /* [N] nats, of token t predicting t + 1; 0 at the last token of a sequence */
    const int32_t *tokens;           /* [N] token ids */
    const int64_t *sequence_offsets; /* [sequence_count + 1] first token of each sequence; the last is N */
    int64_t sequence_count;          /* S */
    const uint8_t *scored;           /* [N] 1: spliced and scored; 0: the model's own residual was kept */
    int64_t first_token;             /* index of token 0 of this batch in the whole scoring pass */
    int64_t core_begin;              /* the core is the latents core_begin <= j < core_end */
    int64_t core_end;
    const int64_t *prefix_widths;    /* [prefix_count] m_1 < m_2 < ... of the Matryoshka SAE; not null if 0 */
    int64_t prefix_count;
    int64_t spliced_width;           /* how many latents x̂ is made of, from the first: m, or one of prefix_widths */
    int64_t first_sequence;          /* since 0.1: index of sequence 0 of this batch in the whole scoring pass */
    /* Since 0.3, on older hosts not there (DMSAE_HAS). The first four as DMSAE-SCORER-12 says, the fifth DMSAE-SCORER-13. */
    const dmsae_tensor *DMSAE_NULLABLE encoder;      /* W_enc [m, d], row j is latent j's */
    const dmsae_tensor *DMSAE_NULLABLE encoder_bias; /* b_enc [m] */
    const dmsae_tensor *DMSAE_NULLABLE thresholds;   /* θ [m] */
    int64_t top_k;
    const float *DMSAE_NULLABLE target_probabilities; /* [N] of token t + 1 after token t, by the model with nothing spliced
                                                         in; 0 where loss is of no token */
    const float *residual_norms;     /* [N] |x_t| */
    const int64_t *document_offsets; /* [document_count + 1] first token of each document, ascending; the last is N */
    int64_t document_count;
    uint64_t flags;                  /* DMSAE_BATCH_... ; DMSAE-GROWTH-07 */
    int32_t layer;                   /* the block of the hook point, from 0 */
    dmsae_hook hook;
} dmsae_scorer_batch;
#define DMSAE_SCORER_BATCH_SIZE_V0 144u

/* ---- dmsae.scorer.per_token/1 ----------------------------------------------------------------------------------- */
#define DMSAE_SCORER_PER_TOKEN "dmsae.scorer.per_token/1"

/* Frozen. */
typedef struct dmsae_scorer_per_token {
    uint32_t struct_size;
    uint32_t reserved;

    /* Writes scores[e] for every entry e of batch->codes, in CSR order.
     * [worker] [created]
     * Ownership: `scores` [batch->codes->count] is the host's; its content before the call means nothing.
     * Errors: any status, with text in `call`.  Since: 0.0
     *
     * DMSAE-SCORER-03  Every element of `scores` is written, and each is finite. The host checks both.
     * DMSAE-SCORER-04  Positive means that the latent helps.
     * DMSAE-SCORER-05  A score depends on the batch and the parameters alone, never on earlier calls. The host cuts
     *                  the pass into batches as it likes, and takes means and quantiles over tokens itself.
     * DMSAE-SCORER-06  The host makes no call for a batch without entries.
     */
    dmsae_status (*score)(dmsae_instance *instance, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call);
} dmsae_scorer_per_token;

/* ---- dmsae.scorer.accumulate/1 (since 0.1) ------------------------------------------------------------------------
 *
 * For results that are not parallel to the codes: totals over the pass, effects at other tokens than the latent's own,
 * several quantities at once. The host gives every batch of the pass to `accumulate`, once, and asks `finish` at the
 * end. A plugin has this table, or per_token, or both: with both, the score is made of per_token's by the host's
 * aggregate, and the outputs after output 0 are written beside it.
 *
 *   begin(plan, state)                    one state a shard
 *   accumulate(batch, state)              every batch of the shard, in ascending order of first_token
 *   merge(into, from)                     the next shard's state into the first's, in ascending order
 *   finish(state) -> outputs              any number of times; the state does not change
 */
#define DMSAE_SCORER_ACCUMULATE "dmsae.scorer.accumulate/1"

/* What is known before the first batch. The host's, valid until the call returns. Grows at its end. */
typedef struct dmsae_scoring_plan {
    uint32_t struct_size;
    dmsae_splice_mode splice_mode;
    int64_t latent_count;   /* m: columns of every batch's codes */
    int64_t dimension;      /* d */
    int64_t sequence_count; /* S: sequences of the whole pass, of all shards */
    int64_t token_count;    /* N: tokens of the whole pass, those that are not scored included */
    int64_t core_begin;     /* as in dmsae_scorer_batch */
    int64_t core_end;
    int64_t evaluation_budget; /* since 0.2: groups of dmsae.eval/1 for the whole pass, of all shards; INT64_MAX: no limit */
    int64_t pass_count; /* since 0.3: P, how often accumulate gets every batch: 1 unless dmsae.scorer.passes/1 says more */
    int64_t pass;       /* since 0.3: which of them a call of accumulate is of, from 0; P in finish, else 0 */
} dmsae_scoring_plan;
#define DMSAE_SCORING_PLAN_SIZE_V1 56u

/* The shape of an output, row-major. */
DMSAE_ENUM(dmsae_output_shape) {
    DMSAE_OUTPUT_LATENT = 1,          /* [m] */
    DMSAE_OUTPUT_LATENT_SEQUENCE = 2, /* [m, S] */
    DMSAE_OUTPUT_LATENT_PAIR = 3,     /* [m, m]; since 0.3 */
    DMSAE_OUTPUT_LATENT_TOKEN = 4     /* [m, N], N the tokens of the whole pass; since 0.3 */
};

#define DMSAE_OUTPUT_HIGHER_IS_BETTER 0x1ull /* a larger value means a latent that helps more */
/* What output 0 is made of, sequence by sequence; all three are [m, S]. Since 0.2; DMSAE-OUTPUT-03. */
#define DMSAE_OUTPUT_TERMS 0x2ull     /* y: what the sequence says; NaN where it was not asked */
#define DMSAE_OUTPUT_EXPANSION 0x4ull /* e: how many like it an evaluated one stands for; 0 where it was not asked */
#define DMSAE_OUTPUT_SIZE 0x8ull      /* x: known of every sequence, about in proportion to y; 0 where y is 0 for sure */

/* One result, described. The plugin's, valid until destroy. Grows at its end.
 *
 * DMSAE-OUTPUT-01  `name` is the tensor's name in files: characters a-z, 0-9, '_', at least one, unique in the plugin,
 *                  and none of those that the host writes beside it: "scores", "core", "per_token".
 * DMSAE-OUTPUT-02  Output 0 is the score: [m], and DMSAE-SCORER-04 holds. Rankings and cores are made from it.
 * DMSAE-OUTPUT-03  At most one output has each of the flags TERMS, EXPANSION and SIZE, the last two only beside TERMS and
 *                  both or neither. With TERMS alone, output 0 is its mean over the sequences. With all three it is the
 *                  ratio estimate (Σ_s x_s / S) · (Σ_s e_s·y_s) / (Σ_s e_s·x_s), the sums of y over e > 0. A host needs
 *                  them to say what the score would have been had other sequences been drawn.
 */
typedef struct dmsae_output {
    uint32_t struct_size;
    dmsae_output_shape shape;
    const char *name;
    const char *unit;              /* "nats", "nats per token", "1"; never empty */
    const char *description;       /* one line */
    uint64_t flags;                /* DMSAE_OUTPUT_... ; DMSAE-GROWTH-07 */
    int32_t standard_error_of;     /* this is the standard error of that output, of the same shape; -1: of none */
    int32_t count_of;              /* this counts the terms that output, of the same shape, is made of; -1: of none */
} dmsae_output;
#define DMSAE_OUTPUT_SIZE_V1 48u

/* Frozen. */
typedef struct dmsae_scorer_accumulate {
    uint32_t struct_size;
    uint32_t state_version; /* DMSAE-STATE-05 */

    /* How many outputs there are, at least 1 and at most 64; the same for the instance's whole life.
     * [any] [created]
     * Errors: none.  Since: 0.1 */
    uint32_t (*output_count)(dmsae_instance *instance);

    /* Describes output `index`, the same pointer each time; null if there is no such index.
     * [any] [created]
     * Ownership: the plugin's, valid until destroy.  Errors: null only.  Since: 0.1 */
    const dmsae_output *DMSAE_NULLABLE (*DMSAE_NONNULL output)(dmsae_instance *instance, uint32_t index);

    /* Writes the bytes that a state of this pass needs.
     * [any] [created]
     * Ownership: `bytes` is the host's.
     * Errors: DMSAE_ERR_UNSUPPORTED for a pass it cannot do; DMSAE_ERR_FAILED.  Since: 0.1
     *
     * DMSAE-SCORER-07  The size depends on plan and parameters alone. 0 is legal: `state` still is not null. */
    dmsae_status (*state_size)(dmsae_instance *instance, const dmsae_scoring_plan *plan, uint64_t *bytes,
                               dmsae_call *call);

    /* Prepares the state of one shard, which is all zero.
     * [worker] [created]
     * Ownership: `state` is the host's (DMSAE-STATE).  Errors: any status.  Since: 0.1 */
    dmsae_status (*begin)(dmsae_instance *instance, const dmsae_scoring_plan *plan, void *state, dmsae_call *call);

    /* Adds one batch.
     * [worker] [created]
     * Ownership: as begin; the batch as in per_token.  Errors: any status.  Since: 0.1
     *
     * DMSAE-SCORER-08  Unlike per_token's, a batch without entries is given too: its tokens count.
     * DMSAE-SCORER-09  What depends on chance is drawn from the parameters and the batch's place in the pass
     *                  (first_token, first_sequence), never from a generator that runs on: batches of other shards do
     *                  not change it. */
    dmsae_status (*accumulate)(dmsae_instance *instance, const dmsae_scoring_plan *plan,
                               const dmsae_scorer_batch *batch, void *state, dmsae_call *call);

    /* Adds the state `other`, of the shard after those already in `state`.
     * [worker] [created]
     * Ownership: both are the host's; `other` is read-only.  Errors: any status.  Since: 0.1
     *
     * DMSAE-SCORER-10  Sums over many tokens are in double or in integers. With DMSAE_PLUGIN_MERGE_EXACT the outputs
     *                  do not depend on the cut into shards, in any bit; else to 1e-9 of their largest magnitude. */
    dmsae_status (*merge)(dmsae_instance *instance, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call);

    /* Writes every output from a state.
     * [worker] [created]
     * Ownership: `outputs` [output_count] and what it points at are the host's: outputs[i] holds as many doubles as
     *   the shape of output i says, in arbitrary bits before.  Errors: any status.  Since: 0.1
     *
     * DMSAE-SCORER-11  Every element is written. NaN means "no evidence", as for a latent that never fired, and is
     *                  never a way to fail; infinity is an error. A latent without a score never enters a core. */
    dmsae_status (*finish)(dmsae_instance *instance, const dmsae_scoring_plan *plan, const void *state,
                           double *DMSAE_NONNULL const *DMSAE_NONNULL outputs, dmsae_call *call);
} dmsae_scorer_accumulate;

/* ---- dmsae.scorer.passes/1 (since 0.3) ----------------------------------------------------------------------------
 *
 * For scorers that look more than once, as one that learns a mask does: after the last batch of a pass comes the first of the
 * next, with the state as it was left. What a pass costs the host, a run of the model forward and back, each pass costs.
 *
 *   begin(plan, state)
 *   accumulate(batch, state)     every batch with pass = 0; every batch with pass = 1; ... pass = P - 1
 *   finish(state) -> outputs
 */
#define DMSAE_SCORER_PASSES "dmsae.scorer.passes/1"

/* Frozen. */
typedef struct dmsae_scorer_passes {
    uint32_t struct_size;
    uint32_t reserved;

    /* Writes P, how many passes over all batches there are to be.
     * [any] [created]
     * Ownership: `count` is the host's. In `plan` pass_count is 1.
     * Errors: DMSAE_ERR_UNSUPPORTED for a pass it cannot do; DMSAE_ERR_FAILED.  Since: 0.3
     *
     * DMSAE-SCORER-15  A plugin with this table has dmsae.scorer.accumulate/1 too and declares DMSAE_PLUGIN_SEQUENTIAL. P is
     *                  at least 1 and at most 1000000, and depends on plan and parameters alone.
     * DMSAE-SCORER-16  Every pass has the same batches at the same places, in the same order. The evaluation budget is for
     *                  all passes together. Scores of tokens, where the plugin has them too, are asked for in pass 0. */
    dmsae_status (*pass_count)(dmsae_instance *instance, const dmsae_scoring_plan *plan, int64_t *count,
                               dmsae_call *call);
} dmsae_scorer_passes;

DMSAE_END

#endif
