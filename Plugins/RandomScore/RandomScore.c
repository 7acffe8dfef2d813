/* The control for every attribution method: a score that knows nothing.
 *
 * score[t, j] = u(seed, j), uniform in (0, 1]: one draw for each latent and not for each token. Were it drawn for each
 * token, every latent's mean or quantile over the tokens would come out nearly the same up to how often it fires, and
 * the core would be the most frequent latents, not a random set. Drawn for each latent, the order among latents that
 * fire is random and the same in every batch; a latent that never fires has no entry and scores nothing.
 */
#include "dmsae/dmsae.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance { uint64_t seed; };

/* The output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64 bits that mixes all of them. */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Mixed twice: with the seed merely added to the latent, seed s + 1 would give latent j what seed s gives j + 1. */
static float draw(uint64_t seed, uint64_t latent) {
    const uint64_t random = mix(mix(seed + 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u * (latent + 1));
    return (float)((random >> 40) + 1) * 0x1p-24f;
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const dmsae_csr *codes = batch->codes;
    for (int64_t e = 0; e < codes->count; e++) scores[e] = draw(self->seed, (uint64_t)codes->column_indices[e]);
    return DMSAE_OK;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};

static const dmsae_parameter_spec seed_spec = {
    sizeof seed_spec, DMSAE_PARAMETER_INTEGER, "seed", "Which draw", "0", NULL, 0, INFINITY, NULL, 0, 0, 0};
static const dmsae_parameter_spec *const parameters[] = {&seed_spec};

static const char *const extensions[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "random", "Random", "1.0.0", "Apache-2.0",
    "Control: one uniform draw for each latent",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT | DMSAE_PLUGIN_SCALE_INVARIANT,
    parameters, 1, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 0},
     "plugins": [
        {"id": "random", "kind": "scorer", "version": "1.0.0", "license": "Apache-2.0", "description":
          "Control: one uniform draw for each latent", "extensions": ["dmsae.scorer.per_token/1"], "flags": [
          "deterministic", "reentrant", "scale-invariant"], "parameters": [{"default": "0", "description":
          "Which draw", "key": "seed", "minimum": 0, "type": "integer"}]}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

/* Decimal digits and nothing else: strtoull alone takes "-1", " 1" and "1x". */
static int parse_seed(const char *text, uint64_t *seed) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return 0;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    return errno == 0 && *end == 0 && *seed <= INT64_MAX;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out,
                           dmsae_call *call) {
    (void)entry, (void)index, (void)host;
    uint64_t seed = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(given[i].key, "seed") != 0) {
            if (call->error_capacity > 0)
                snprintf(call->error, call->error_capacity, "unknown parameter '%s'; random takes seed",
                         given[i].key);
            return DMSAE_ERR_UNKNOWN_PARAMETER;
        }
        if (!parse_seed(given[i].value, &seed)) {
            if (call->error_capacity > 0)
                snprintf(call->error, call->error_capacity, "seed is '%s'; give a whole number from 0 to 2^63 - 1",
                         given[i].value);
            return DMSAE_ERR_INVALID_ARGUMENT;
        }
    }
    dmsae_instance *self = malloc(sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    self->seed = seed;
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
