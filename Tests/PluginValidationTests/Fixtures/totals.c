/* A scorer of totals with all its outputs: the mean over sequences of -Σ a <g, w>, its standard error from text to text,
 * the terms it is the mean of, and how many they are. fault=NAME breaks one promise; without one it keeps all. */
#define DMSAE_ABI_MINOR_REQUIRED 2u
#define ID "totals"
#define SUMMARY "Totals to first order"
#ifndef FLAGS
#define FLAGS DMSAE_PLUGIN_NEEDS_GRADIENT | DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT | DMSAE_PLUGIN_MERGE_EXACT
#endif
#ifdef LATER /* looks twice, in order, and says which states it goes on from */
#include "dmsae/dmsae.h"
#define IDS DMSAE_SCORER_ACCUMULATE, DMSAE_SCORER_PASSES, DMSAE_STATE
#define TABLES                                                                                                         \
    if (strcmp(id, DMSAE_SCORER_PASSES) == 0) return &passes;                                                          \
    if (strcmp(id, DMSAE_STATE) == 0) return &states;
static dmsae_status pass_count(dmsae_instance *self, const dmsae_scoring_plan *plan, int64_t *count, dmsae_call *call);
static int32_t accepts(dmsae_instance *self, const char *version);
static const dmsae_scorer_passes passes = {sizeof passes, 0, pass_count};
static const dmsae_state states = {sizeof states, 0, accepts};
#endif
#include "../../PluginTestSupport/Fixtures/accumulator.h"

#ifdef LATER
static dmsae_status pass_count(dmsae_instance *self, const dmsae_scoring_plan *plan, int64_t *count, dmsae_call *call) {
    (void)plan, (void)call;
    *count = 2 + (has(self, "more") ? self->calls++ : 0);
    return DMSAE_OK;
}

static int32_t accepts(dmsae_instance *self, const char *version) {
    return strcmp(version, "1.0") == 0 && !has(self, "refuses-own");
}
#endif

static const dmsae_output outputs[] = {
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "effect", "nats", "Mean over sequences", DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "effect_error", "nats", "From text to text", 0, 0, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "effects", "nats", "Of each sequence",
     DMSAE_OUTPUT_HIGHER_IS_BETTER | DMSAE_OUTPUT_TERMS, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "sequences", "1", "Sequences it is the mean of", 0, -1, 0}};

static uint32_t output_count(dmsae_instance *self) {
    (void)self;
    return 4;
}
static const dmsae_output *output(dmsae_instance *self, uint32_t index) {
    (void)self;
    return index < 4 ? &outputs[index] : NULL;
}

static double elsewhere[1 << 20]; /* of the fault "elsewhere" */

static dmsae_status state_size(dmsae_instance *self, const dmsae_scoring_plan *plan, uint64_t *bytes, dmsae_call *call) {
    (void)call;
    *bytes = 8 * (uint64_t)(plan->latent_count * plan->sequence_count);
    if (has(self, "sizes")) *bytes += 8 * (uint64_t)self->calls++;
    return DMSAE_OK;
}

static dmsae_status begin(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, dmsae_call *call) {
    (void)plan, (void)state, (void)call;
    if (has(self, "elsewhere")) memset(elsewhere, 0, sizeof elsewhere);
    return DMSAE_OK;
}

static double altered(const dmsae_instance *self, int64_t j, double a, double dot) {
    if (has(self, "flipped")) return j % 3 == 0 ? a * dot : -a * dot;
    if (has(self, "one-flipped")) return j == 7 ? a * dot : -a * dot;
    if (has(self, "scaled")) return -a * dot * (double)(1 + j % 3);
    if (has(self, "one-scaled")) return j == 7 ? -2 * a * dot : -a * dot;
    if (has(self, "later")) return self->calls > 100 ? a * dot : -a * dot;
    if (has(self, "squared")) return -a * a * dot;
    return -a * dot;
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *state, dmsae_call *call) {
    double *sums = has(self, "elsewhere") ? elsewhere : state;
#ifdef LATER
    if (plan->pass == 0) return DMSAE_OK;
#endif
    const int64_t d = plan->dimension;
    if (has(self, "means")) {
        const dmsae_host_means *means = self->host->get_extension(self->host, DMSAE_MEANS);
        double *values = malloc(sizeof *values * (size_t)plan->latent_count);
        int64_t scored = 0;
        const dmsae_status status = means->activations(self->host, batch, values, &scored, call);
        free(values);
        if (status != DMSAE_OK) return status;
    }
    self->calls++;
    const dmsae_host_cancel *cancel = self->host->get_extension(self->host, DMSAE_CANCEL);
    for (int64_t s = 0; s < batch->sequence_count; s++)
        for (int64_t t = batch->sequence_offsets[s]; t < batch->sequence_offsets[s + 1]; t++) {
            if (cancel != NULL && cancel->is_cancelled(self->host)) return DMSAE_CANCELLED;
            for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
                const int64_t j = batch->codes->column_indices[e];
                const float *w = (const float *)batch->decoder->data + j * d, *g = (const float *)batch->gradient->data + t * d;
                double dot = 0;
                for (int64_t i = 0; i < d; i++) dot += (double)g[i] * (double)w[i];
                sums[j * plan->sequence_count + batch->first_sequence + s] +=
                    altered(self, j, (double)batch->codes->values[e], dot);
            }
        }
    return DMSAE_OK;
}

static dmsae_status merge(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call) {
    (void)call;
    for (int64_t i = 0; i < plan->latent_count * plan->sequence_count; i++) ((double *)state)[i] += ((const double *)other)[i];
    if (has(self, "takes")) memset((void *)(uintptr_t)other, 0, 8);
    return DMSAE_OK;
}

static dmsae_status finish(dmsae_instance *self, const dmsae_scoring_plan *plan, const void *state, double *const *results,
                           dmsae_call *call) {
    (void)call;
    const double *sums = has(self, "elsewhere") ? elsewhere : state;
    const int64_t m = plan->latent_count, S = plan->sequence_count;
    if (has(self, "scribbles")) ((double *)(uintptr_t)state)[0] = 0;
    memcpy(results[2], sums, 8 * (size_t)(m * S));
    for (int64_t j = 0; j < m; j++) {
        double mean = 0, square = 0;
        for (int64_t s = 0; s < S; s++) mean += sums[j * S + s] / (double)S;
        for (int64_t s = 0; s < S; s++) square += (sums[j * S + s] - mean) * (sums[j * S + s] - mean);
        results[0][j] = has(self, "other-mean") ? 1.5 * mean : mean;
        results[1][j] = sqrt(square / (double)(S * (S - 1)));
        if (has(self, "negative-error") && j == 5) results[1][j] = -results[1][j];
        if (has(self, "unknown-error")) results[1][j] = (double)NAN;
        if (has(self, "double-error")) results[1][j] *= 2;
        if (has(self, "no-root")) results[1][j] *= sqrt((double)S);
        if (has(self, "no-error")) results[1][j] = 0;
        results[3][j] = (double)S + (has(self, "half-count") ? 0.5 : has(self, "minus-count") ? -100 : 0);
    }
    return DMSAE_OK;
}
