/* A plugin with every fault the host guards against. Built without a flag it is sound: two scorers and a rule. Faults
 * of the file are chosen by -D, faults of a call by parameters: fault=NAME, and for the rule scope=, upper=, keep=.
 * Its descriptors are as long as in version 0.0, which knew no description of parameters. */
#include "dmsae/dmsae.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef ENTRY_NAME
#define ENTRY_NAME dmsae_plugin_entry
#endif
#ifndef MAGIC
#define MAGIC DMSAE_MAGIC
#endif
#ifndef MAJOR
#define MAJOR DMSAE_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR DMSAE_ABI_MINOR_REQUIRED
#endif
#ifndef ENTRY_SIZE
#define ENTRY_SIZE sizeof(dmsae_entry)
#endif
#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof(dmsae_scorer_per_token)
#endif
#ifndef CREATE
#define CREATE create
#endif
#ifndef SCORE
#define SCORE score
#endif
#ifndef FIRST_ID
#define FIRST_ID "first"
#endif
#ifndef SUMMARY
#define SUMMARY "A sound scorer"
#endif
#ifndef FLAGS
#define FLAGS DMSAE_PLUGIN_DETERMINISTIC
#endif
#ifndef COUNT
#define COUNT 3
#endif

struct dmsae_instance {
    const dmsae_host *host;
    char fault[32];
    long scope, upper, keep;
};

#ifdef FLUSH_DENORMALS
#include <xmmintrin.h>
__attribute__((constructor)) static void loaded(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }
#endif

static int has(const dmsae_instance *self, const char *fault) { return strcmp(self->fault, fault) == 0; }

static void say(dmsae_call *call, const char *text) {
    if (call->error_capacity > 0) strncpy(call->error, text, call->error_capacity - 1);
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    const int64_t count = batch->codes->count;
    for (int64_t e = 0; e < count; e++)
        if (!(has(self, "unwritten") && e > 0 && e % 2 == 0)) scores[e] = 0.5f;
    if (has(self, "nan")) scores[1] = NAN;
    if (has(self, "infinity")) scores[count - 1] = -INFINITY;
    if (has(self, "text")) {
        say(call, "the moon is full");
        return DMSAE_ERR_FAILED;
    }
    if (has(self, "silent")) return DMSAE_ERR_OUT_OF_MEMORY;
    if (has(self, "future")) return (dmsae_status)-77;
    if (has(self, "unterminated")) {
        memset(call->error, 'x', call->error_capacity);
        return DMSAE_ERR_FAILED;
    }
    if (has(self, "lost")) return DMSAE_ERR_INSTANCE_LOST;
    if (has(self, "waits")) {
        const dmsae_host_cancel *cancel = self->host->get_extension(self->host, DMSAE_CANCEL);
        while (!cancel->is_cancelled(self->host)) {}
        return DMSAE_CANCELLED;
    }
    if (has(self, "logs")) {
        const dmsae_host_log *log = self->host->get_extension(self->host, DMSAE_LOG);
        log->log(self->host, DMSAE_LOG_WARNING, "it is late");
        log->log(self->host, (dmsae_log_level)99, "a level of the future");
        if (self->host->get_extension(self->host, "dmsae.log/10") != NULL) return DMSAE_ERR_FAILED;
    }
#ifdef FLUSH_DENORMALS
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
    return DMSAE_OK;
}

static dmsae_selection_scope scope(dmsae_instance *self) { return (dmsae_selection_scope)self->scope; }

static dmsae_status upper_count(dmsae_instance *self, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call) {
    (void)context;
    if (has(self, "upper")) {
        say(call, "no count today");
        return DMSAE_ERR_FAILED;
    }
    *count = self->upper;
    return DMSAE_OK;
}

/* Keeps the first `keep` of each row. */
static dmsae_status select_entries(dmsae_instance *self, const dmsae_selection_context *context,
                                   const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call) {
    (void)context, (void)call;
    for (int64_t r = 0; r < candidates->rows; r++)
        for (int64_t e = candidates->row_offsets[r]; e < candidates->row_offsets[r + 1]; e++)
            if (e - candidates->row_offsets[r] < self->keep) selected[e] = has(self, "mark") ? 3 : 1;
    return DMSAE_OK;
}

static const dmsae_scorer_per_token scorer = {TABLE_SIZE, 0, SCORE};
static const dmsae_sparsity_rule rule = {sizeof rule, 0, scope, upper_count, select_entries};

static const char *const scorer_ids[] = {DMSAE_SCORER_PER_TOKEN};
static const char *const rule_ids[] = {DMSAE_SPARSITY_RULE};

#ifdef LARGER /* as if by a later minor version: everything that may grow has a tail */
static const struct { dmsae_descriptor known; uint64_t tail[3]; } larger_first = {
    {sizeof larger_first, DMSAE_KIND_SCORER, FIRST_ID, "First", "1.2", "MIT", SUMMARY, scorer_ids, 1, 0, FLAGS},
    {~0ull, ~0ull, ~0ull}};
#define first larger_first.known
#else
static const dmsae_descriptor first = {
    DMSAE_DESCRIPTOR_SIZE_V0, DMSAE_KIND_SCORER, FIRST_ID, "First", "1.2", "MIT", SUMMARY, scorer_ids, 1, 0, FLAGS};
#endif
static const dmsae_descriptor second = {DMSAE_DESCRIPTOR_SIZE_V0, DMSAE_KIND_SCORER, "second", "Second", "1.3", "MIT",
                                        "Another scorer", scorer_ids, 1, 0, DMSAE_PLUGIN_REENTRANT};
static const dmsae_descriptor third = {DMSAE_DESCRIPTOR_SIZE_V0, DMSAE_KIND_SPARSITY_RULE, "rule", "Rule", "1.4", "MIT",
                                       "A rule", rule_ids, 1, 0, 0};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    const dmsae_descriptor *all[] = {&first, &second, &third};
    return index < 3 ? all[index] : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *parameters, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    if (entry->magic != DMSAE_MAGIC || index > 2) return DMSAE_ERR_FAILED;
    dmsae_instance *self = calloc(1, sizeof *self);
    self->host = host;
    self->scope = DMSAE_SCOPE_ROW;
    self->upper = 1;
    self->keep = 1;
    for (uint32_t i = 0; i < count; i++) {
        const char *key = parameters[i].key, *value = parameters[i].value;
        if (strcmp(key, "fault") == 0) strncpy(self->fault, value, sizeof self->fault - 1);
        else if (strcmp(key, "scope") == 0) self->scope = atol(value);
        else if (strcmp(key, "upper") == 0) self->upper = atol(value);
        else if (strcmp(key, "keep") == 0) self->keep = atol(value);
        else {
            say(call, "unknown parameter ");
            if (call->error_capacity > 0) strncat(call->error, key, call->error_capacity - 32);
            free(self);
            return DMSAE_ERR_UNKNOWN_PARAMETER;
        }
    }
    if (has(self, "create")) {
        free(self);
        return DMSAE_ERR_INVALID_ARGUMENT;
    }
    *out = has(self, "nowhere") ? NULL : self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    if (has(self, "table")) return NULL;
    if (strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0) return &scorer;
    return strcmp(id, DMSAE_SPARSITY_RULE) == 0 ? &rule : NULL;
}

#ifdef LARGER
static const struct { dmsae_entry known; uint64_t tail[3]; } larger_entry = {
    {MAGIC, sizeof larger_entry, MAJOR, MINOR, COUNT, descriptor, CREATE, destroy, get_extension}, {~0ull, ~0ull, ~0ull}};
#define entry larger_entry.known
#else
static const dmsae_entry entry = {MAGIC, ENTRY_SIZE, MAJOR, MINOR, COUNT, descriptor, CREATE, destroy, get_extension};
#endif

DMSAE_EXPORT const dmsae_entry *ENTRY_NAME(const dmsae_host_info *host);
const dmsae_entry *ENTRY_NAME(const dmsae_host_info *host) {
#ifdef REFUSES /* nothing, or why */
    if (DMSAE_HAS(host, dmsae_host_info, error_capacity) && host->error_capacity > 0)
        strncpy(host->error, "" REFUSES, host->error_capacity - 1);
    return NULL;
#else
    return host->struct_size >= DMSAE_HOST_INFO_SIZE_V0 ? &entry : NULL;
#endif
}
