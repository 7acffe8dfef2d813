/* The cheapest control that knows what a latent adds, and nothing of what becomes of it: the norm of what it adds to x̂,
 *
 *     score[t, j] = a · ‖w‖,   a = f[t, j],  w = W_dec[j]
 *
 * By the mean over all tokens (--aggregate mean) it is how often the latent fires, times its mean activation there, times ‖w‖.
 */
#include "dmsae/single_scorer.h"

#include <math.h>
#include <stdlib.h>

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const dmsae_csr *codes = batch->codes;
    const int64_t d = batch->decoder->shape[1];
    const float *decoder = (const float *)((const char *)batch->decoder->data + batch->decoder->byte_offset);
    double *norms = malloc(sizeof *norms * (size_t)codes->columns + 1);
    if (norms == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    for (int64_t j = 0; j < codes->columns; j++) {
        double square = 0;
        for (int64_t i = 0; i < d; i++) square += (double)decoder[j * d + i] * (double)decoder[j * d + i];
        norms[j] = sqrt(square);
    }
    for (int64_t e = 0; e < codes->count; e++) scores[e] = (float)((double)codes->values[e] * norms[codes->column_indices[e]]);
    free(norms);
    return DMSAE_OK;
}

DMSAE_SINGLE_SCORER("norm", "1.0.0", "Apache-2.0", "Control: the norm of what the latent adds to the reconstruction",
                    DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT | DMSAE_PLUGIN_SCALE_INVARIANT, score)

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 0}, "plugins": [{"description":
     "Control: the norm of what the latent adds to the reconstruction", "extensions": ["dmsae.scorer.per_token/1"],
     "flags": ["deterministic", "reentrant", "scale-invariant"], "id": "norm", "kind": "scorer", "license": "Apache-2.0",
     "parameters": [], "version": "1.0.0"}]});
