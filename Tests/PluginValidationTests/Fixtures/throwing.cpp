/* A scorer in C++ that lets an exception of its standard library cross the line when a setting cannot be read. */
#include "dmsae/dmsae.h"

#include <cstring>
#include <string>

struct dmsae_instance { double scale; };

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *) {
    for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = float(self->scale) * batch->codes->values[e];
    return DMSAE_OK;
}

static const dmsae_scorer_per_token table = {sizeof table, 0, score};
static const char *const ids[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_parameter_spec scale = {
    sizeof scale, DMSAE_PARAMETER_NUMBER, "scale", "Factor on every score", "1", nullptr, 0, 10, nullptr, 0, 0, 0};
static const dmsae_parameter_spec *const list[] = {&scale};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "throwing", "Throwing", "1.0", "MIT", "Throws", ids, 1, 0, 0, list, 1, 0};

static const dmsae_descriptor *descriptor(const dmsae_entry *, uint32_t index) { return index == 0 ? &about : nullptr; }

static dmsae_status create(const dmsae_entry *, uint32_t, const dmsae_host *, const dmsae_parameter *given,
                           uint32_t count, dmsae_instance **out, dmsae_call *call) {
    double value = 1;
    for (uint32_t i = 0; i < count; i++) {
        if (std::strcmp(given[i].key, "scale") == 0) {
            value = std::stod(given[i].value);
            continue;
        }
        if (call->error_capacity > 0) std::strncat(call->error, given[i].key, call->error_capacity - 1);
        return DMSAE_ERR_UNKNOWN_PARAMETER;
    }
    *out = new dmsae_instance{value};
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { delete self; }

static const void *get_extension(dmsae_instance *, const char *id) {
    return std::strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &table : nullptr;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *) { return &entry; }
