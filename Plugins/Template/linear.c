#include "dmsae/single_scorer.h"

/* How much the loss rises, to first order, when latent j is removed at token t: -a * <g_t, W_dec[j]>. */
static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    const int64_t d = batch->decoder->shape[1];
    for (int64_t t = 0; t < batch->codes->rows; t++) {
        const float *g = (const float *)batch->gradient->data + t * d;
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            const float *w = (const float *)batch->decoder->data + batch->codes->column_indices[e] * d;
            double dot = 0;
            for (int64_t i = 0; i < d; i++) dot += (double)g[i] * w[i];
            scores[e] = (float)(-batch->codes->values[e] * dot);
        }
    }
    return DMSAE_OK;
}
DMSAE_SINGLE_SCORER("linear", "1.0.0", "Apache-2.0", "-a * <g, w>", DMSAE_PLUGIN_NEEDS_GRADIENT, score)
