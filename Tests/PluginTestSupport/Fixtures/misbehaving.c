/* A plugin that does to its process what a buggy one does, on purpose: fault=NAME in score, or create=NAME on the way
 * there. Without either it scores the activation, and its rule keeps the first entry of each row. */
#define _GNU_SOURCE
#include "dmsae/dmsae.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef FLAGS
#define FLAGS DMSAE_PLUGIN_DETERMINISTIC
#endif
#ifndef COUNT
#define COUNT 3
#endif

struct dmsae_instance {
    const dmsae_host *host;
    char fault[32];
    char once[256];
    int calls, is_stopped;
    pthread_t writer;
};

/* Writes `mebibytes` of lines to standard error. */
static void spill(int mebibytes) {
    char lines[1024];
    memset(lines, '~', sizeof lines);
    lines[1023] = '\n';
    for (int i = 0; i < 1024 * mebibytes; i++)
        if (write(2, lines, sizeof lines) != sizeof lines) abort();
}

static void *spill_slowly(void *nothing) {
    spill(1);
    return nothing;
}

/* Leaves a process behind that would live on, as far from this one as `how` says, and adds its id to `file`. */
static void leave(const char *how, const char *file) {
    int ready[2];
    char byte = 0;
    if (pipe(ready) != 0) abort();
    if (fork() == 0) {
        if (strncmp(how, "group", 5) == 0 && setpgid(0, 0) != 0) byte = 1;
        if (strncmp(how, "session", 7) == 0) {
            setsid();
            if (fork() != 0) _exit(0);
        }
        FILE *list = fopen(file, "a");
        fprintf(list, "%d\n", (int)getpid());
        fclose(list);
        if (write(ready[1], &byte, 1) != 1) _exit(1);
        for (;;) pause();
    }
    if (read(ready[0], &byte, 1) != 1 || byte != 0) abort();
}

static int deeper(volatile char *above) {
    volatile char page[4096];
    page[0] = above[0];
    return deeper(page) + page[0];
}

/* Asks what the losses are if nothing is changed, `count` times, or until it is told to stop. */
static dmsae_status ask(dmsae_instance *self, const dmsae_scorer_batch *batch, int count, dmsae_call *call) {
    const dmsae_host_eval *eval = self->host->get_extension(self->host, DMSAE_EVAL);
    dmsae_status status = DMSAE_OK;
    for (int i = 0; i < count && status == DMSAE_OK; i++) {
        dmsae_edit_group group = {0, 0, 0, NULL, 0, {0, 0}};
        const dmsae_edit none = {0, 0, 0, DMSAE_EDIT_SCALE, 1, 0, NULL, 0};
        status = eval->losses(self->host, batch, &group, 1, &none, 1, call);
    }
    return status;
}

static void misbehave(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores) {
    const char *fault = self->fault;
#define IS(name) (strcmp(fault, name) == 0)
    if (IS("segfault")) *(volatile int *)8 = 1;
    if (IS("abort")) {
        fprintf(stderr, "the moon is full\nand the tide is high\n");
        abort();
    }
    if (IS("trap")) __builtin_trap();
    if (IS("divide")) {
        volatile int five = 5, zero = 0;
        scores[0] = (float)(five / zero);
    }
    if (IS("loop")) for (volatile int i = 0;; i++) {}
    if (IS("sleep")) for (;;) sleep(1);
    if (IS("stack")) scores[0] = (float)deeper((volatile char *)fault);
    if (IS("memory")) for (;;) memset(malloc(1 << 24), 1, 1 << 24);
    if (IS("gulp")) memset(malloc((size_t)1 << 44), 1, 64);
    if (IS("exit")) exit(0);
    if (IS("kill")) kill(getpid(), SIGKILL);
    if (IS("input")) ((float *)(uintptr_t)batch->codes->values)[0] = 7;
    if (IS("weights")) ((float *)batch->decoder->data)[1] = 7;
    if (IS("far")) memset(scores, 0, 1 << 20);
    if (IS("near")) scores[batch->codes->count] = 1;
    if (IS("before")) scores[-1] = 1;
    if (IS("close")) for (int i = 0; i < 64; i++) close(i);
    if (IS("garbage")) if (write(3, "garbage", 7) < 0) abort();
    if (IS("stdout")) if (write(1, "not mine\n", 9) < 0) abort();
#if defined(__x86_64__)
    if (IS("flush")) __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#endif
    if (IS("spills")) {
        struct stat status;
        spill(64);
        scores[0] = fstat(2, &status) == 0 ? (float)status.st_size : -1;
    }
    if (IS("drowns")) {
        spill(1);
        fprintf(stderr, "and is drowned\n");
        abort();
    }
    /* The second call waits for what the first began. */
    if (IS("trickles") && self->calls++ == 0) pthread_create(&self->writer, NULL, spill_slowly, NULL);
    else if (IS("trickles")) pthread_join(self->writer, NULL);
    if (strncmp(fault, "fork-", 5) == 0 || strncmp(fault, "group-", 6) == 0 || strncmp(fault, "session-", 8) == 0) {
        leave(fault, self->once);
        if (strstr(fault, "-abort")) abort();
        if (strstr(fault, "-loop")) for (;;) pause();
    }
    if (IS("talks") || IS("stops")) {
        const dmsae_host_log *log = self->host->get_extension(self->host, DMSAE_LOG);
        for (int i = 0; i < 5; i++) {
            usleep(150000);
            log->log(self->host, DMSAE_LOG_INFO, "still here");
        }
        if (IS("stops")) for (;;) pause();
    }
    if (IS("flood")) {
        const dmsae_host_log *log = self->host->get_extension(self->host, DMSAE_LOG);
        for (int i = 0; i < 20000; i++) log->log(self->host, DMSAE_LOG_INFO, "again\033[2J");
    }
    if (IS("chatters")) {
        const dmsae_host_log *log = self->host->get_extension(self->host, DMSAE_LOG);
        const dmsae_host_cancel *cancel = self->host->get_extension(self->host, DMSAE_CANCEL);
        for (int i = 0; i < 20000 && !cancel->is_cancelled(self->host); i++) log->log(self->host, DMSAE_LOG_INFO, "so");
        self->is_stopped = cancel->is_cancelled(self->host);
    }
    if (IS("waits")) {
        const dmsae_host_cancel *cancel = self->host->get_extension(self->host, DMSAE_CANCEL);
        while (!cancel->is_cancelled(self->host)) usleep(1000);
    }
    /* Crashes unless the file is there, and makes it: a fault that does not come back. */
    if (IS("once") && access(self->once, F_OK) != 0) {
        fclose(fopen(self->once, "w"));
        abort();
    }
    /* Promises broken quietly; what is to be found by a validator. */
    if (IS("memory-of-calls")) scores[0] += (float)self->calls++;
    if (IS("company")) scores[0] += (float)batch->sequence_count;
    if (IS("chance")) scores[0] += (float)getpid();
    if (IS("sign"))
        for (int64_t t = 0; t < batch->codes->rows; t++)
            for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
                const int64_t d = batch->decoder->shape[1];
                const float *g = (const float *)batch->gradient->data + t * d;
                const float *w = (const float *)batch->decoder->data + batch->codes->column_indices[e] * d;
                scores[e] = 0;
                for (int64_t i = 0; i < d; i++) scores[e] += batch->codes->values[e] * g[i] * w[i];
            }
    if (IS("overflow")) scores[0] = batch->codes->values[0] * 1e30f;
    if (IS("second") && batch->first_sequence == 1) abort();
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = batch->codes->values[e];
    if (strcmp(self->fault, "asks") == 0) return ask(self, batch, 20000, call);
    if (strcmp(self->fault, "once") == 0 && FLAGS & DMSAE_PLUGIN_NEEDS_EVALUATION) {
        const dmsae_status status = ask(self, batch, 5, call);
        if (status != DMSAE_OK) return status;
    }
    misbehave(self, batch, scores);
    if (self->is_stopped || strcmp(self->fault, "waits") == 0 || strcmp(self->fault, "quits") == 0)
        return DMSAE_CANCELLED;
    if (strcmp(self->fault, "text") == 0) {
        snprintf(call->error, call->error_capacity, "the moon is full");
        return DMSAE_ERR_FAILED;
    }
    if (strcmp(self->fault, "nan") == 0) scores[0] = 0.0f / 0.0f;
    return DMSAE_OK;
}

static const dmsae_scorer_per_token scorer = {sizeof scorer, 0, score};

static dmsae_selection_scope scope(dmsae_instance *self) {
    (void)self;
    return DMSAE_SCOPE_ROW;
}

static dmsae_status upper_count(dmsae_instance *self, const dmsae_selection_context *context, int64_t *count,
                                dmsae_call *call) {
    (void)self, (void)context, (void)call;
    *count = 1;
    return DMSAE_OK;
}

static dmsae_status select_entries(dmsae_instance *self, const dmsae_selection_context *context,
                                   const dmsae_csr *candidates, uint8_t *selected, dmsae_call *call) {
    (void)context, (void)call;
    for (int64_t r = 0; r < candidates->rows; r++)
        if (candidates->row_offsets[r] < candidates->row_offsets[r + 1]) selected[candidates->row_offsets[r]] = 1;
    if (strcmp(self->fault, "segfault") == 0) *(volatile int *)8 = 1;
    if (strcmp(self->fault, "near") == 0) selected[candidates->count] = 1;
    if (strcmp(self->fault, "twos") == 0) selected[0] = 2;
    if (strcmp(self->fault, "all") == 0) memset(selected, 1, (size_t)candidates->count);
    if (strcmp(self->fault, "memory-of-calls") == 0 && self->calls++ > 0) selected[0] = 0;
    return DMSAE_OK;
}

static const dmsae_sparsity_rule rule = {sizeof rule, 0, scope, upper_count, select_entries};

static const dmsae_parameter_spec fault = {sizeof fault, DMSAE_PARAMETER_TEXT, "fault", "What to do in score", "", NULL, 0,
                                           0, NULL, 0, 0, 0};
static const dmsae_parameter_spec at_create = {sizeof at_create, DMSAE_PARAMETER_TEXT, "create", "What to do in create", "",
                                               NULL, 0, 0, NULL, 0, 0, 0};
static const dmsae_parameter_spec once = {sizeof once, DMSAE_PARAMETER_TEXT, "once", "A file", "", NULL, 0, 0, NULL, 0, 0,
                                          0};
static const dmsae_parameter_spec *const list[] = {&fault, &at_create, &once};
static const char *const scorer_ids[] = {DMSAE_SCORER_PER_TOKEN}, *const rule_ids[] = {DMSAE_SPARSITY_RULE};
static const dmsae_descriptor first = {sizeof first, DMSAE_KIND_SCORER, "misbehaving", "Misbehaving", "1.0", "MIT",
                                       "Misbehaves", scorer_ids, 1, 0, FLAGS, list, COUNT, 0};
static const dmsae_descriptor second = {sizeof second, DMSAE_KIND_SPARSITY_RULE, "unruly", "Unruly", "1.0", "MIT",
                                        "Misbehaves", rule_ids, 1, 0, 0, list, 3, 0};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &first : index == 1 ? &second : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *parameters, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    dmsae_instance *self = calloc(1, sizeof *self);
    self->host = host;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(parameters[i].key, "fault") == 0) strncpy(self->fault, parameters[i].value, sizeof self->fault - 1);
        if (strcmp(parameters[i].key, "once") == 0) strncpy(self->once, parameters[i].value, sizeof self->once - 1);
        if (strcmp(parameters[i].key, "fault") != 0 && strcmp(parameters[i].key, "once") != 0 &&
            strcmp(parameters[i].key, "create") != 0 && strcmp(self->fault, "unknown") != 0) {
            snprintf(call->error, call->error_capacity, "unknown parameter '%s'", parameters[i].key);
            free(self);
            return DMSAE_ERR_UNKNOWN_PARAMETER;
        }
        if (strcmp(parameters[i].key, "create") == 0 && strcmp(parameters[i].value, "abort") == 0) abort();
    }
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    if (strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0) return &scorer;
    return strcmp(id, DMSAE_SPARSITY_RULE) == 0 ? &rule : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 2,
                                  descriptor, create, destroy, get_extension};

#ifdef LOADING
__attribute__((constructor)) static void loading(void) { abort(); }
#endif

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
