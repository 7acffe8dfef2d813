#define _GNU_SOURCE
#include "call_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "linux.h"
#include "sandbox.h"

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

// A program for the kernel, in the making.
struct program {
    struct sock_filter lines[1024];
    unsigned short count;
};

static void add(struct program *program, unsigned short code, uint8_t yes, uint8_t no, uint32_t k) {
    if (program->count < sizeof program->lines / sizeof program->lines[0])
        program->lines[program->count++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *program, size_t offset) { add(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset); }
static void load_call(struct program *program) { load(program, offsetof(struct seccomp_data, nr)); }
static void answer(struct program *program, uint32_t error) { add(program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | error); }

// A call that fails with `error`, or does nothing and succeeds for 0.
static void refuse(struct program *program, long call, uint32_t error) {
    add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)call);
    answer(program, error);
}

// The lower half of an argument, on machines with the lower half first.
static size_t argument(int i) { return offsetof(struct seccomp_data, args) + 8 * (size_t)i; }

// A call that fails unless argument `i` is 0 or this process.
static void refuse_of_others(struct program *program, long call, int i) {
    add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 5, (uint32_t)call);
    load(program, argument(i));
    add(program, BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 0);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, (uint32_t)getpid());
    answer(program, EPERM);
    load_call(program);
}

// A call that fails if what is at `place` of its arguments has one of `bits`.
static void refuse_bits(struct program *program, long call, size_t place, uint32_t bits, uint32_t error) {
    add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, (uint32_t)call);
    load(program, place);
    add(program, BPF_JMP | BPF_JSET | BPF_K, 0, 1, bits);
    answer(program, error);
    load_call(program);
}

static int install(const struct program *program) {
    const struct sock_fprog filter = {program->count, (struct sock_filter *)program->lines};
    // For threads that run already too; and without the slower speculation that older kernels give a filtered process.
    const unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) == 0 ? 0 : -1;
}

int dmsae_has_call_filters(void) {
    const uint32_t action = SECCOMP_RET_ERRNO;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int dmsae_stay_in_group(void) {
    // Numbers of this architecture. The other tables of calls that a kernel may have (32 bits, x32) stay open: this is
    // against mistakes.
    struct program program = {.count = 0};
    load_call(&program);
    refuse(&program, SYS_setsid, EPERM);
    refuse(&program, SYS_setpgid, 0);
    add(&program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    return install(&program);
}

// Calls by number where a header may be older than the kernel; the numbers are those of every architecture.
enum {
    IO_URING_SETUP = 425, IO_URING_ENTER = 426, IO_URING_REGISTER = 427, OPEN_TREE = 428, MOVE_MOUNT = 429, FSOPEN = 430,
    FSCONFIG = 431, FSMOUNT = 432, FSPICK = 433, CLONE3 = 435, OPENAT2 = 437, PIDFD_GETFD = 438, PROCESS_MADVISE = 440,
    MOUNT_SETATTR = 442, QUOTACTL_FD = 443, PROCESS_MRELEASE = 448, FCHMODAT2 = 452, SETXATTRAT = 463, REMOVEXATTRAT = 466,
    OPEN_TREE_ATTR = 467, FILE_SETATTR = 469, PIDFD_SEND_SIGNAL = 424
};

static const int of_processes[] = {
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, PIDFD_GETFD, PROCESS_MADVISE, PROCESS_MRELEASE, SYS_kcmp,
    SYS_perf_event_open, SYS_userfaultfd, SYS_bpf, SYS_lookup_dcookie, SYS_keyctl, SYS_add_key, SYS_request_key,
    // Memory, semaphores and messages that processes share by number or name.
    SYS_shmget, SYS_shmat, SYS_shmctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl, SYS_msgget, SYS_msgsnd, SYS_msgrcv,
    SYS_msgctl, SYS_mq_open, SYS_mq_unlink};

static const int of_network[] = {SYS_socket, SYS_connect, SYS_bind, SYS_listen, SYS_accept, SYS_accept4,
                                 // Its calls are in no filter's sight.
                                 IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER};

static const int of_machine[] = {
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_unshare, SYS_setns, OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG,
    FSMOUNT, FSPICK, MOUNT_SETATTR, OPEN_TREE_ATTR, SYS_swapon, SYS_swapoff, SYS_reboot, SYS_kexec_load, SYS_init_module,
    SYS_finit_module, SYS_delete_module, SYS_sethostname, SYS_setdomainname, SYS_settimeofday, SYS_clock_settime,
    SYS_clock_adjtime, SYS_adjtimex, SYS_acct, SYS_quotactl, QUOTACTL_FD, SYS_syslog, SYS_vhangup, SYS_fanotify_init,
    SYS_open_by_handle_at, SYS_name_to_handle_at,
#if defined(__x86_64__)
    SYS_iopl, SYS_ioperm, SYS_kexec_file_load,
#endif
};

// What Landlock leaves open: rights, owners, times and attributes of files.
static const int of_attributes[] = {
    SYS_fchmod, SYS_fchmodat, FCHMODAT2, SYS_fchown, SYS_fchownat, SYS_utimensat, SYS_setxattr, SYS_lsetxattr,
    SYS_fsetxattr, SETXATTRAT, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr, REMOVEXATTRAT, FILE_SETATTR,
#if defined(__x86_64__)
    SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat,
#endif
};

static const int of_files[] = {
    SYS_truncate, SYS_mkdirat, SYS_mknodat, SYS_unlinkat, SYS_renameat2, SYS_linkat, SYS_symlinkat,
#if defined(__x86_64__)
    SYS_creat, SYS_mkdir, SYS_mknod, SYS_rmdir, SYS_unlink, SYS_rename, SYS_renameat, SYS_link, SYS_symlink,
#endif
};

#define REFUSE(list) \
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) refuse(&program, list[i], EPERM)

int dmsae_refuse_calls(int files, int signals) {
    struct program program = {.count = 0};
    // Another architecture's calls have other numbers.
    load(&program, offsetof(struct seccomp_data, arch));
    add(&program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, NATIVE);
    answer(&program, EPERM);
    load_call(&program);
#if defined(__x86_64__)
    add(&program, BPF_JMP | BPF_JGE | BPF_K, 0, 1, 0x40000000); /* x32 */
    answer(&program, EPERM);
#endif
    REFUSE(of_processes);
    REFUSE(of_network);
    REFUSE(of_machine);
    REFUSE(of_attributes);
    // A pair of datagram sockets can send to names; pairs of streams cannot.
    refuse_bits(&program, SYS_socketpair, argument(1), 0xe & ~(uint32_t)SOCK_SEQPACKET, EPERM);
    for (size_t half = 0; half < 8; half += 4) refuse_bits(&program, SYS_sendto, argument(4) + half, 0xffffffff, EPERM);
    // Flags in memory are in no filter's sight; without clone3 the C library takes clone.
    refuse(&program, CLONE3, ENOSYS);
    refuse_bits(&program, SYS_clone, argument(0),
                CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET,
                EPERM);
    static const int first[] = {SYS_prlimit64, SYS_sched_setaffinity, SYS_sched_setscheduler, SYS_sched_setparam,
                                SYS_sched_setattr, SYS_migrate_pages, SYS_move_pages};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) refuse_of_others(&program, first[i], 0);
    refuse_of_others(&program, SYS_setpriority, 1);
    refuse_of_others(&program, SYS_ioprio_set, 1);
    if (signals) {
        static const int of_signals[] = {SYS_kill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo};
        for (size_t i = 0; i < sizeof of_signals / sizeof of_signals[0]; i++) refuse_of_others(&program, of_signals[i], 0);
        refuse(&program, SYS_tkill, EPERM);
        refuse(&program, PIDFD_SEND_SIGNAL, EPERM);
    }
    if (files) {
        REFUSE(of_files);
        refuse(&program, OPENAT2, ENOSYS);
        refuse_bits(&program, SYS_openat, argument(2), O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND, EACCES);
#if defined(__x86_64__)
        refuse_bits(&program, SYS_open, argument(1), O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND, EACCES);
#endif
    }
    add(&program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    return install(&program);
}
