/* First order, scale * -a <g, w>, with the faults that only a validator finds: fault=NAME breaks one promise of the
 * headers, quietly. Without one it keeps all. Faults of the file are macros. */
#define _GNU_SOURCE
#include "dmsae/dmsae.h"

#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef FLAGS
#define FLAGS DMSAE_PLUGIN_NEEDS_GRADIENT | DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT
#endif
#ifndef VERSION
#define VERSION "1.0"
#endif

struct dmsae_instance {
    const dmsae_host *host;
    char fault[32];
    double scale;
    int calls;
};

static int has(const dmsae_instance *self, const char *fault) { return strcmp(self->fault, fault) == 0; }

/* What the program runs when it exits. */
static void aborts(void) { abort(); }
static void waits_for_ever(void) { for (;;) pause(); }
static void leaves(void) { _exit(3); }

static void handled(int signal) { (void)signal; }

static void *waits(void *unused) {
    (void)unused;
    for (;;) pause();
    return NULL;
}

static void *spins(void *unused) {
    (void)unused;
    for (volatile int i = 0;; i++) {}
    return NULL;
}

/* What a call does to how the kernel sees the process. */
static void disturb_kernel(const dmsae_instance *self, int64_t rows) {
    static int is_done;
    if (has(self, "pool") ? rows <= 1000 || is_done++ : is_done++) return;
    const struct rlimit files = {64, 64};
    const struct itimerval hour = {{0, 0}, {3600, 0}};
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (has(self, "umask")) umask(077);
    if (has(self, "limit")) setrlimit(RLIMIT_NOFILE, &files);
    if (has(self, "processors")) sched_setaffinity(0, sizeof one, &one);
    if (has(self, "nice") && nice(3) < 0) abort();
    if (has(self, "close-input")) close(0);
    if (has(self, "close-output")) close(1);
    if (has(self, "close-error")) close(2);
    if (has(self, "other-output")) dup2(0, 1);
    if (has(self, "no-wait")) fcntl(0, F_SETFL, O_NONBLOCK);
    if (has(self, "timer")) setitimer(ITIMER_REAL, &hour, NULL);
    if (has(self, "name")) prctl(PR_SET_NAME, "mine");
    if (has(self, "orphans")) prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (has(self, "child") && fork() == 0) for (;;) pause();
    if (has(self, "spin") || (has(self, "pool") && rows > 1000)) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, spins, NULL) == 0) pthread_detach(thread);
    }
}

/* What a call does to the process. */
static void disturb(const dmsae_instance *self, int64_t rows) {
    static int opened; /* fewer than a process may have */
#if defined(__x86_64__)
    if (has(self, "flush")) __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
    if (has(self, "round")) __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x6000);
#endif
    if (has(self, "folder") && chdir("/tmp") != 0) abort();
    if (has(self, "locale")) setlocale(LC_ALL, "C.UTF-8");
    if (has(self, "variable")) setenv("DMSAE_LEFT_BEHIND", "1", 1);
    if (has(self, "handler")) signal(SIGUSR1, handled);
    if (has(self, "mask")) {
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, SIGUSR2);
        pthread_sigmask(SIG_BLOCK, &one, NULL);
    }
    if (has(self, "stdout")) printf("%s\n", "scored");
    if (has(self, "stderr")) fprintf(stderr, "scored\n");
    if (has(self, "leak")) memset(malloc(4096), 1, 4096);
    if (has(self, "descriptor") && opened++ < 200 && open("/dev/null", O_RDONLY) < 0) abort();
    if (has(self, "thread") && opened++ < 200) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, waits, NULL) == 0) pthread_detach(thread);
    }
    if (has(self, "slow") && rows > 1000) usleep(700000);
    if (has(self, "loop")) for (;;) pause();
    if (has(self, "chatter")) {
        const dmsae_host_log *log = self->host->get_extension(self->host, DMSAE_LOG);
        for (;;) {
            usleep(10000);
            log->log(self->host, DMSAE_LOG_DEBUG, "still here");
        }
    }
    disturb_kernel(self, rows);
}

static volatile float scratch; /* of the fault "shared" */
static volatile int is_long;   /* a call that is timed, in which nobody gives way */

static float altered(const dmsae_instance *self, int32_t latent, float a, double norm, float score) {
    if (has(self, "by-latent")) return score * (float)(1 + latent % 3);
    if (has(self, "by-decoder")) return score / (float)norm;
    if (has(self, "some-flipped")) return latent % 40 == 7 ? -score : score;
    if (has(self, "high-flipped")) return latent > 2048 ? -score : score;
    if (has(self, "large-flipped")) return a > 100 ? -score : score;
    if (has(self, "later")) return self->calls > 700 ? -score : score;
    if (has(self, "clock")) return time(NULL) & 1 ? score * 1.01f : score;
    if (has(self, "nan")) return latent == 3 ? score - score + 0.0f / 0.0f : score;
    if (has(self, "no-sign")) return -(score < 0 ? -score : score);
    if (has(self, "flipped")) return -score;
    if (has(self, "size")) return score / (score * score + 1e-20f) / a;
    if (has(self, "shared")) {
        scratch = score;
        if (!is_long) sched_yield(); /* where others come between, on a busy machine too */
        return scratch;
    }
    return score;
}

/* Scores of whatever batch lay where this one lies; keeps these unless it is asked for them. */
static int remembers(const dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, int is_asked) {
    static const void *place;
    static float *answer;
    static int64_t count;
    if (!has(self, "by-address")) return 0;
    const size_t size = sizeof *scores * (size_t)batch->codes->count;
    const int is_known = place == batch->codes->values && count == batch->codes->count;
    if (is_known == is_asked && is_known) memcpy(scores, answer, size);
    if (!is_asked) {
        place = batch->codes->values, count = batch->codes->count;
        answer = realloc(answer, size);
        memcpy(answer, scores, size);
    }
    return is_known;
}

static float everybodys[1 << 16]; /* of the fault "buffer" */

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const int64_t d = batch->decoder->shape[1];
    is_long = batch->codes->rows > 1000;
    self->calls++;
    if (remembers(self, batch, scores, 1)) return DMSAE_OK;
    float *written = has(self, "buffer") && batch->codes->count <= 1 << 16 ? everybodys : scores;
    for (int64_t t = 0; t < batch->codes->rows; t++)
        for (int64_t e = batch->codes->row_offsets[t]; e < batch->codes->row_offsets[t + 1]; e++) {
            const int32_t j = has(self, "narrow") ? (uint16_t)batch->codes->column_indices[e] : batch->codes->column_indices[e];
            const float a = batch->codes->values[e], *w = (const float *)batch->decoder->data + j * d;
            double dot = 0, norm = 0;
            for (int64_t i = 0; i < d; i++) {
                if (batch->gradient != NULL) dot += (double)((const float *)batch->gradient->data)[t * d + i] * (double)w[i];
                norm += (double)w[i] * (double)w[i];
            }
            written[e] = altered(self, j, a, norm, (float)(-self->scale * (double)a * dot));
        }
    if (written != scores) memcpy(scores, written, sizeof *scores * (size_t)batch->codes->count);
    remembers(self, batch, scores, 0);
    disturb(self, batch->codes->rows);
    return DMSAE_OK;
}

static const dmsae_scorer_per_token table = {sizeof table, 0, score};
static const char *const ids[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_parameter_spec
    fault = {sizeof fault, DMSAE_PARAMETER_TEXT, "fault", "What to do wrong", "", NULL, 0, 0, NULL, 0, 0, 0},
    scale = {sizeof scale, DMSAE_PARAMETER_NUMBER, "scale", "Factor on every score", "1", NULL, 0, 10, NULL, 0, 0, 0};
static const dmsae_parameter_spec *const list[] = {&fault, &scale};
static const dmsae_descriptor about = {sizeof about, DMSAE_KIND_SCORER, "broken", "Broken", VERSION, "MIT",
                                       "Breaks promises", ids, 1, 0, FLAGS, list, 2, 0};

#ifdef MANIFEST
DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 0},
     "plugins": [{"id": "broken", "kind": "scorer", "version": "0.9", "license": "MIT", "description": "Breaks promises"}]});
#endif

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status refuse(dmsae_instance *self, const char *key, dmsae_call *call) {
    const int runs_over = has(self, "runs-over"), is_silent = has(self, "silent");
    free(self);
    if (runs_over && call->error != NULL) strcpy(call->error, "neither no-such-setting nor scale is what it should be");
    else if (!is_silent) snprintf(call->error, call->error_capacity, "bad setting '%s'", key);
    return DMSAE_ERR_INVALID_ARGUMENT;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    dmsae_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    self->host = host;
    self->scale = 1;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(given[i].key, "fault") == 0) strncpy(self->fault, given[i].value, sizeof self->fault - 1);
    if (has(self, "other-default")) self->scale = 2;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(given[i].key, "fault") == 0) continue;
        if (strcmp(given[i].key, "scale") != 0) return refuse(self, given[i].key, call);
        char *end;
        const double value = strtod(given[i].value, &end);
        if ((*end == 0 && value >= 0 && value <= 10) || has(self, "lenient")) self->scale = value;
        else return refuse(self, given[i].key, call);
    }
    if (has(self, "exit-aborts")) atexit(aborts);
    if (has(self, "exit-waits")) atexit(waits_for_ever);
    if (has(self, "exit-status")) atexit(leaves);
    if (has(self, "needs-log")) {
        const dmsae_host_log *log = host->get_extension(host, DMSAE_LOG);
        log->log(host, DMSAE_LOG_DEBUG, "created");
    }
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) {
    if (!has(self, "keeps")) free(self);
    else memset(malloc(4096), 1, 4096);
}

static const void *get_extension(dmsae_instance *self, const char *id) {
    return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 || has(self, "any-table") ? &table : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

#ifdef HELPER
DMSAE_EXPORT int helper(void);
int helper(void) { return 1; }
#endif

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
#ifdef TALKS
    if (DMSAE_HAS(host, dmsae_host_info, error_capacity) && host->error_capacity > 4) strcpy(host->error, "ok");
#endif
    (void)host;
    return &entry;
}
