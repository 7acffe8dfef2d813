/* A scorer that reaches for what is not its own: try=a+b+… in score, and an error that names what it got. */
#define _GNU_SOURCE
#include "dmsae/dmsae.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct dmsae_instance {
    char wanted[256], folder[256];
};

static int opened(const char *format, const char *folder, int flags) {
    char path[512];
    snprintf(path, sizeof path, format, folder, (int)getppid());
    const int file = open(path, flags, 0600);
    if (file >= 0) close(file);
    return file >= 0;
}

/* By a child, which has a process of its own. */
static int child_writes(const char *folder) {
    int status = 0;
    const pid_t child = fork();
    if (child == 0) _exit(opened("%s/by-child", folder, O_WRONLY | O_CREAT) ? 1 : 0);
    waitpid(child, &status, 0);
    return status != 0;
}

static int got(const dmsae_instance *self, const char *what) {
    char byte = 0, path[512];
    struct iovec here = {&byte, 1}, there = {(void *)&byte, 1};
    struct rlimit limit;
    snprintf(path, sizeof path, "%s/kept", self->folder);
#define IS(name) (strcmp(what, name) == 0)
    if (IS("write")) return opened("%s/written", self->folder, O_WRONLY | O_CREAT);
    if (IS("change")) return opened("%s/kept", self->folder, O_RDWR);
    if (IS("truncate")) return truncate(path, 0) == 0;
    if (IS("remove")) return unlink(path) == 0;
    if (IS("rights")) return chmod(path, 0777) == 0;
    if (IS("child")) return child_writes(self->folder);
    if (IS("socket")) return socket(AF_INET, SOCK_STREAM, 0) >= 0;
    if (IS("local-socket")) return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
    if (IS("ring")) return syscall(425, 1, NULL) >= 0;
    if (IS("signal")) return kill(getppid(), 0) == 0;
    if (IS("trace")) return ptrace(PTRACE_SEIZE, getppid(), 0, 0) == 0;
    if (IS("peek")) return process_vm_readv(getppid(), &here, 1, &there, 1, 0) == 1;
    if (IS("memory")) return opened("%.0s/proc/%d/mem", "", O_RDWR);
    if (IS("words")) return opened("%.0s/proc/%d/cmdline", "", O_RDONLY);
    if (IS("environment")) return opened("%.0s/proc/%d/environ", "", O_RDONLY);
    if (IS("limits")) return prlimit(getppid(), RLIMIT_CORE, NULL, &limit) == 0;
    if (IS("priority")) return setpriority(PRIO_PROCESS, (id_t)getppid(), getpriority(PRIO_PROCESS, 0)) == 0;
    if (IS("shared")) return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) >= 0;
    return 1;
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = batch->codes->values[e];
    char list[256], found[256] = "";
    strcpy(list, self->wanted);
    for (char *what = strtok(list, "+"); what != NULL; what = strtok(NULL, "+"))
        if (got(self, what)) strcat(strcat(found, " "), what);
    if (found[0] == 0) return DMSAE_OK;
    snprintf(call->error, call->error_capacity, "got%s", found);
    return DMSAE_ERR_FAILED;
}

static const dmsae_scorer_per_token table = {sizeof table, 0, score};
static const char *const ids[] = {DMSAE_SCORER_PER_TOKEN};
static const dmsae_parameter_spec
    wanted = {sizeof wanted, DMSAE_PARAMETER_TEXT, "try", "What to reach for", "", NULL, 0, 0, NULL, 0, 0, 0},
    folder = {sizeof folder, DMSAE_PARAMETER_PATH, "folder", "Where to write", "/tmp", NULL, 0, 0, NULL, 0, 0, 0};
static const dmsae_parameter_spec *const list[] = {&wanted, &folder};
static const dmsae_descriptor about = {sizeof about, DMSAE_KIND_SCORER, "escapes", "Escapes", "1.0", "MIT",
                                       "Reaches out", ids, 1, 0, 0, list, 2, 0};

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index, (void)host, (void)call;
    dmsae_instance *self = calloc(1, sizeof *self);
    for (uint32_t i = 0; i < count; i++)
        strncpy(strcmp(given[i].key, "try") == 0 ? self->wanted : self->folder, given[i].value, 255);
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &table : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
