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

/* What one call sees: a few whole sequences, one after the other.
 *
 * N tokens = codes->rows, m candidate latents = codes->columns, d = d_model, S sequences.
 * All of it is the host's, read-only, valid until the call returns (DMSAE-TENSOR-01). Grows at its end.
 *
 * DMSAE-SCORER-01  Every entry of `codes` is positive. A token that is not scored has no entry.
 * DMSAE-SCORER-02  gradient is not null if the plugin declares DMSAE_PLUGIN_NEEDS_GRADIENT.
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

/* ---- dmsae.scorer.accumulate/1: the id is reserved for scorers whose result is not parallel to the codes -------- */
#define DMSAE_SCORER_ACCUMULATE "dmsae.scorer.accumulate/1"

DMSAE_END

#endif
