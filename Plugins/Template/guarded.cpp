// A scorer in C++: what the standard library throws becomes a status and a text, and nothing leaves the file
// (DMSAE-STATUS-02). The score of a latent at a token is its share of the token's activation.
#include "dmsae/single_scorer.h"

#include <exception>
#include <vector>

// Runs `body`, which may throw.
template <typename Body> static dmsae_status guarded(dmsae_call *call, const Body &body) {
    try {
        body();
        return DMSAE_OK;
    } catch (const std::exception &error) {
        if (call->error_capacity > 0) strncat(call->error, error.what(), call->error_capacity - 1);
    } catch (...) {
    }
    return DMSAE_ERR_FAILED;
}

static dmsae_status score(dmsae_instance *, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    return guarded(call, [&] {
        const dmsae_csr &codes = *batch->codes;
        std::vector<double> totals(static_cast<size_t>(codes.rows));
        for (int64_t t = 0; t < codes.rows; t++)
            for (int64_t e = codes.row_offsets[t]; e < codes.row_offsets[t + 1]; e++)
                totals.at(static_cast<size_t>(t)) += codes.values[e];
        for (int64_t t = 0; t < codes.rows; t++)
            for (int64_t e = codes.row_offsets[t]; e < codes.row_offsets[t + 1]; e++)
                scores[e] = static_cast<float>(codes.values[e] / totals.at(static_cast<size_t>(t)));
    });
}
DMSAE_SINGLE_SCORER("share", "1.0.0", "Apache-2.0", "Share of the token's activation", DMSAE_PLUGIN_DETERMINISTIC, score)
