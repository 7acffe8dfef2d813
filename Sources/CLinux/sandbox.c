#define _GNU_SOURCE
#include "sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call_filter.h"

// Landlock as the kernel documents it (Documentation/userspace-api/landlock.rst); headers of a distribution may be
// older than its kernel.
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#ifndef CAP_LAST_CAP
#define CAP_LAST_CAP 40
#endif

enum { EXECUTE = 1 << 0, WRITE_FILE = 1 << 1, READ_FILE = 1 << 2, READ_DIR = 1 << 3, IOCTL_DEVICE = 1 << 15 };

struct ruleset {
    uint64_t files, network, scopes;
};
struct __attribute__((packed)) rule {
    uint64_t allowed;
    int32_t folder;
};

int dmsae_landlock_version(void) {
    const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    return version < 0 ? 0 : (int)version;
}

// Allows `rights` on a path and all below it; what is not there needs no rule. The descriptor, -1 without.
static int allow(int ruleset, const char *path, uint64_t rights) {
    const int place = open(path, O_PATH | O_CLOEXEC);
    if (place < 0) return -1;
    struct stat status;
    if (fstat(place, &status) == 0 && !S_ISDIR(status.st_mode)) rights &= EXECUTE | WRITE_FILE | READ_FILE | IOCTL_DEVICE;
    const struct rule rule = {rights, place};
    syscall(SYS_landlock_add_rule, ruleset, 1, &rule, 0);
    return place;
}

static void allow_and_close(int ruleset, const char *path, uint64_t rights) {
    const int place = allow(ruleset, path, rights);
    if (place >= 0) close(place);
}

// Allows reading in a folder, but for entries that `is_left_out`.
static void allow_entries(int ruleset, const char *folder, int (*is_left_out)(const struct dirent *)) {
    DIR *entries = opendir(folder);
    if (entries == NULL) return;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || is_left_out(entry)) continue;
        char path[512];
        if (snprintf(path, sizeof path, "%s%s", folder, entry->d_name) >= (int)sizeof path) continue;
        allow_and_close(ruleset, path, EXECUTE | READ_FILE | READ_DIR);
    }
    closedir(entries);
}

static int is_proc_or_dev(const struct dirent *entry) {
    return strcmp(entry->d_name, "proc") == 0 || strcmp(entry->d_name, "dev") == 0;
}

// Other processes; links, which lead to them or to ourselves; and the memory and messages of the kernel.
static int is_of_others(const struct dirent *entry) {
    return (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') || entry->d_type == DT_LNK ||
           strcmp(entry->d_name, "kcore") == 0 || strcmp(entry->d_name, "kmsg") == 0;
}

static int restrict_files(int version) {
    const uint64_t all = version >= 5 ? 0xffff : version >= 3 ? 0x7fff : version >= 2 ? 0x3fff : 0x1fff;
    const uint64_t devices = version >= 5 ? IOCTL_DEVICE : 0;
    const struct ruleset handled = {all, version >= 4 ? 3 : 0, version >= 6 ? 3 : 0};
    const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
    if (ruleset < 0) return -1;
    allow_and_close(ruleset, "/", READ_DIR);
    allow_entries(ruleset, "/", is_proc_or_dev);
    allow_entries(ruleset, "/proc/", is_of_others);
    // Left open on purpose: the kernel may forget the entry of a process that nobody holds, and the rule with it.
    const int self = allow(ruleset, "/proc/self", EXECUTE | READ_FILE | READ_DIR);
    if (self >= 0) fcntl(self, F_SETFD, 0);
    static const char *const readable[] = {"/dev/random", "/dev/urandom", "/dev/shm"};
    static const char *const writable[] = {"/dev/null", "/dev/zero", "/dev/full"};
    for (int i = 0; i < 3; i++) {
        allow_and_close(ruleset, readable[i], EXECUTE | READ_FILE | READ_DIR);
        allow_and_close(ruleset, writable[i], READ_FILE | WRITE_FILE | devices);
    }
    const int result = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
    close(ruleset);
    return result;
}

// Root without its powers: what is left is to read what others closed to it, so that a plugin of theirs loads.
static void drop_capabilities(void) {
    for (int i = 0; i <= 63; i++)
        if (i != CAP_DAC_READ_SEARCH) prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) != 0) return;
    const uint32_t kept = 1u << CAP_DAC_READ_SEARCH;
    for (int i = 0; i < 2; i++) {
        data[i].permitted &= i == 0 ? kept : 0;
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    syscall(SYS_capset, &header, data);
}

int dmsae_enter_sandbox(const char **what) {
    *what = "giving up privileges";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    const int version = dmsae_landlock_version();
    *what = "Landlock";
    if (version > 0 && restrict_files(version) != 0) return -1;
    drop_capabilities();
    *what = "a filter of calls";
    return dmsae_has_call_filters() ? dmsae_refuse_calls(version == 0, version < 6) : 0;
}
