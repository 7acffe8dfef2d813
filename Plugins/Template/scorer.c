/* The smallest valid scorer: the score of a latent at a token is its activation there. Build it with
 *
 *     cc -O2 -shared -fPIC -I Include Plugins/Template/scorer.c -o scorer.so
 */
#include <string.h>
#include "dmsae/dmsae.h"

static struct dmsae_instance { int unused; } only;

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = batch->codes->values[e];
    return DMSAE_OK;
}
static const dmsae_scorer_per_token table = {sizeof table, 0, score};
static const char *const ids[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "activation", "Activation", "1.0.0", "Apache-2.0", "The activation itself",
    ids, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT, 0, 0, 0};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t i) { return i == 0 ? &about : 0; }
static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *set, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    *out = &only;
    if (count == 0) return DMSAE_OK;
    if (call->error_capacity > 0) strncat(call->error, set[0].key, call->error_capacity - 1);
    return DMSAE_ERR_UNKNOWN_PARAMETER;
}
static void destroy(dmsae_instance *self) {}
static const void *get_extension(dmsae_instance *self, const char *id) {
    return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &table : 0;
}
static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};
const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) { return &entry; }
