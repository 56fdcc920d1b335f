/* SPDX-License-Identifier: MIT
 *
 * libodfork: fork() and posix_spawn() by the fastest safe strategy, with a report of which one was taken and why.
 *
 * Conventions
 *   - Functions in the style of fork return a pid, or -1 with errno. Functions in the style of posix_spawn return 0 or
 *     an errno value. odf_posix_spawn and odf_posix_spawnp may change errno, as libc's may; the others keep it.
 *   - Structures that may grow start with `size`. Their _INIT macro gives a structure that requests nothing, in
 *     initialisations, assignments and calls; so does a structure of zeros with its size set. A `size` below that of
 *     the first header is EINVAL, one above 4096 is E2BIG. An input structure from a newer header is accepted if the
 *     part that the library does not know is zero; otherwise it is E2BIG. An output structure of any other size is
 *     filled as far as the library knows it, with zeros after that; `size` is not changed.
 *   - Later versions add members at the end of such structures, and values at the end of enumerations, before their
 *     _COUNT. A program may loop up to _COUNT; it is never the size of an array in a structure. Members named
 *     `reserved` stay zero. A program must expect values that its header does not have; it can ask the library for
 *     their names.
 *   - The library uses pointers in option structures only until the function returns.
 *   - All functions are thread-safe. A function is async-signal-safe only if its comment says so.
 *
 * "Since" is the libodfork version that added a declaration.
 */
#ifndef ODFORK_H
#define ODFORK_H

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#define ODF_VERSION_MAJOR 0
#define ODF_VERSION_MINOR 2
#define ODF_VERSION_PATCH 0
#define ODF_VERSION       "0.2.0"

/* For the _INIT macros only. In C these are compound literals. In the initialiser of an object of static storage
 * duration that is a GNU extension, of which gcc -pedantic warns; { .size = sizeof(TYPE) } does the same. */
#ifdef __cplusplus
template <class T> inline T odf_sized_()
{
	T structure = T();
	structure.size = sizeof(T);
	return structure;
}
#define ODF_SIZED_(type) (odf_sized_<type>())
extern "C" {
#else
#define ODF_SIZED_(type) (__extension__(type){ .size = sizeof(type) })
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

struct sock_fprog;
struct sched_attr;

/* ---- Strategies, steps, reasons ---------------------------------------------------------------------------------- */

/* How a process was made. Since 0.1.0. */
typedef enum odf_strategy {
	ODF_STRATEGY_NONE = 0,    /* no process was made */
	ODF_STRATEGY_KERNEL,      /* fork with the kernel's on-demand copy of page tables */
	ODF_STRATEGY_REGION,      /* fork of a process whose memory is in snapshot regions */
	ODF_STRATEGY_FORK,        /* libc's fork */
	ODF_STRATEGY_VFORK,       /* clone(CLONE_VM | CLONE_VFORK) and exec */
	ODF_STRATEGY_POSIX_SPAWN, /* libc's posix_spawn */
	ODF_STRATEGY_POOL,        /* a pool's spawn, which need not suspend the caller until exec */
	ODF_STRATEGY_COUNT
} odf_strategy;
#define ODF_STRATEGY_ROOM 16 /* elements of arrays by strategy, with room for those of later versions */

/* A set of strategies, for the `allow` options: ODF_ALLOW(ODF_STRATEGY_VFORK) | ODF_ALLOW(ODF_STRATEGY_FORK). Zero
 * allows any. */
#define ODF_ALLOW(strategy) (1u << (strategy))

/* The step that failed. The order is that in which the child takes the steps, except that later versions add theirs at
 * the end. Since 0.1.0. */
typedef enum odf_step {
	ODF_STEP_NONE = 0,     /* nothing failed */
	ODF_STEP_REQUEST,      /* the arguments were refused, or no allowed strategy can do it; nothing was tried */
	ODF_STEP_PIPES,        /* ODF_SPAWN_PIPE_*; `index` is the stream */
	ODF_STEP_CLONE,        /* making the process, or allocating memory for it */
	ODF_STEP_SIGNALS,      /* signal dispositions */
	ODF_STEP_CGROUP,       /* cgroup_fd */
	ODF_STEP_OOM_SCORE,    /* ODF_SPAWN_OOM_SCORE_ADJ */
	ODF_STEP_NAMESPACE,    /* namespaces; `index` is the namespace */
	ODF_STEP_ROOT,         /* root */
	ODF_STEP_SETSID,       /* ODF_SPAWN_SETSID */
	ODF_STEP_PGROUP,       /* ODF_SPAWN_SETPGROUP */
	ODF_STEP_CWD,          /* cwd, cwd_fd */
	ODF_STEP_FD,           /* fds; `index` is the action */
	ODF_STEP_FOREGROUND,   /* ODF_SPAWN_FOREGROUND */
	ODF_STEP_CLOSE_OTHERS, /* ODF_SPAWN_CLOSE_OTHER_FDS */
	ODF_STEP_UMASK,        /* ODF_SPAWN_UMASK */
	ODF_STEP_NICE,         /* ODF_SPAWN_NICE */
	ODF_STEP_SCHED,        /* ODF_SPAWN_SCHED, sched_attr */
	ODF_STEP_IOPRIO,       /* ODF_SPAWN_IOPRIO */
	ODF_STEP_AFFINITY,     /* affinity */
	ODF_STEP_RLIMIT,       /* rlimits; `index` is the limit */
	ODF_STEP_GROUPS,       /* ODF_SPAWN_GROUPS, ODF_SPAWN_USER_GROUPS; if no strategy was tried: the lookup of the
	                          user failed */
	ODF_STEP_GID,          /* ODF_SPAWN_GID */
	ODF_STEP_UID,          /* ODF_SPAWN_UID */
	ODF_STEP_CAPABILITIES, /* ODF_SPAWN_AMBIENT */
	ODF_STEP_PARENT_DEATH, /* parent_death_signal; ESRCH: the parent had ended already */
	ODF_STEP_PRE_EXEC,     /* pre_exec returned an error; `error` is what it returned */
	ODF_STEP_NO_NEW_PRIVS, /* ODF_SPAWN_NO_NEW_PRIVS */
	ODF_STEP_SECCOMP,      /* seccomp */
	ODF_STEP_EXEC,         /* executing the program */
	ODF_STEP_PIDFD,        /* pidfd; no process was made, except by odf_fork_with, see there */
	ODF_STEP_UNKNOWN,      /* libc's posix_spawn failed, which does not say at which step */
	ODF_STEP_COUNT
} odf_step;

/* Why a strategy was taken or not. Since 0.1.0. */
typedef enum odf_reason {
	ODF_REASON_NONE = 0,            /* not considered; in odf_capabilities: available */
	ODF_REASON_CHOSEN,              /* taken */
	ODF_REASON_BETTER_CHOSEN,       /* a strategy that comes earlier in the order was taken */
	ODF_REASON_NOT_ALLOWED,         /* not in the caller's `allow`, or ODFORK_STRATEGY names another */
	ODF_REASON_RETURNS_TWICE,       /* a fork returns in two processes, which this strategy cannot do */
	ODF_REASON_ENDS_IN_EXEC,        /* a spawn ends in exec and needs none of this */
	ODF_REASON_NOT_BUILT,           /* not part of this version */
	ODF_REASON_NO_PROC,             /* /proc is not mounted or not readable */
	ODF_REASON_KERNEL_NOT_OFFERED,  /* neither /proc/self/use_odf nor Async-fork: the kernel has no on-demand
	                                   fork */
	ODF_REASON_KERNEL_NOT_WRITABLE, /* /proc/self/use_odf exists and cannot be opened for writing */
	ODF_REASON_KERNEL_NOT_VERIFIED, /* offered, but not shown to keep data (odf_kernel_verify), so taken only if
	                                   asked for by name */
	ODF_REASON_KERNEL_BUSY,         /* another thread of this process is using the switch */
	ODF_REASON_KERNEL_REFUSED,      /* writing the switch failed */
	ODF_REASON_TOO_SMALL,           /* the process is too small for a gain */
	ODF_REASON_NO_REGION,           /* no snapshot region in this process */
	ODF_REASON_PRE_EXEC,            /* pre_exec needs a full fork */
	ODF_REASON_LIBC_NO_OPTION,      /* libc's posix_spawn has no such option */
	ODF_REASON_LIBC_REFUSED,        /* libc's posix_spawn was refused by the kernel or a sandbox */
	ODF_REASON_CLONE_REFUSED,       /* clone(CLONE_VM | CLONE_VFORK) is refused, by a sandbox or the kernel */
	ODF_REASON_CLONE_VM_FAKE,       /* CLONE_VM does not share memory (WSL1, user-mode emulation) */
	ODF_REASON_PID_NAMESPACE,       /* after unshare(CLONE_NEWPID) or setns: a probe of CLONE_VM would be process 1
	                                   of the new namespace, or it is not known whether it would; and a detached
	                                   process cannot be made */
	ODF_REASON_REGION_NO_REMAP,     /* the kernel cannot move a shared mapping and keep its old place mapped (before
	                                   Linux 5.13) */
	ODF_REASON_REGION_NO_MEMFD,     /* no memfd_create, or a sandbox or sysctl forbids it */
	ODF_REASON_REGION_OVERCOMMIT,   /* strict overcommit (vm.overcommit_memory=2): the kernel would not commit the
	                                   memory of a region */
	ODF_REASON_REGION_PAGE_SIZE,    /* regions need pages of 4096 bytes and a 64-bit process */
	ODF_REASON_REGION_REFUSED,      /* the regions could not be frozen (no memory, no mappings, or a limit) */
	/* Found by odf_kernel_verify; taken only if asked for by name: */
	ODF_REASON_KERNEL_LOSES_WRITES,    /* after an on-demand fork one process sees what the other writes */
	ODF_REASON_KERNEL_LOSES_NEIGHBORS, /* MADV_DONTNEED or munmap of a page then clears pages around it */
	ODF_REASON_KERNEL_LOSES_DISCARDS,  /* a page discarded by MADV_DONTNEED then does not read as zeros */
	ODF_REASON_KERNEL_DIES,            /* a process ended or hung that should not */
	ODF_REASON_KERNEL_UNSAFE,          /* the user says that it loses data: ODFORK_KERNEL=unsafe */
	/* Not taken, even if asked for by name: */
	ODF_REASON_KERNEL_NO_EFFECT, /* the switch was set, but the page tables were copied all the same; or the switch
	                                has no effect: a module is not loaded (modprobe async-fork), a sysctl is 0
	                                (kernel.async_fork_enabled) */
	ODF_REASON_KERNEL_REGIONS,   /* the process has snapshot regions, and the kernel is not shown to keep data */
	ODF_REASON_KERNEL_CGROUP,    /* the process is in another memory cgroup than that of the switch that was
	                                found */
	ODF_REASON_REGION_KERNEL,    /* forks of this process are on demand, by a kernel that is not shown to keep
	                                data */
	ODF_REASON_HEAP_OFF,            /* the heap was not requested: the library is linked and not preloaded, or
	                                   ODFORK_HEAP=off */
	ODF_REASON_HEAP_NOT_INTERPOSED, /* the static library interposes no functions, so there is no heap; or the
	                                   program has loaded a second C library (dlmopen) */
	ODF_REASON_HEAP_NO_SETTLING,    /* several threads and no userfaultfd for kernel-mode faults, or no
	                                   /proc/self/pagemap: a region could not be settled */
	ODF_REASON_HEAP_NO_ROOM,        /* no address space or descriptors for a region of the heap */
	ODF_REASON_HEAP_PIECES,         /* the program's memory is in so many small mappings that they would cost a fork
	                                   more than it saves */
	ODF_REASON_HEAP_LOCKED,         /* the program locks its memory (mlockall) */
	ODF_REASON_HEAP_SANDBOX,        /* a seccomp sandbox, which may punish the system calls that the heap needs, or
	                                   a time-stamp counter that traps (PR_SET_TSC) */
	ODF_REASON_HEAP_LIMIT,          /* a limit of address space, data or file size, which counts a region
	                                   differently, or of processor time */
	ODF_REASON_HEAP_PINS,           /* memory may be pinned: the program has a file open for direct input, or an
	                                   io_uring */
	ODF_REASON_HEAP_KERNEL,         /* the kernel forks on demand, and keeps data or was asked for by name */
	ODF_REASON_HEAP_FILE_SYSTEM,    /* the program has a file open on a file system that may read memory past the
	                                   page tables (FUSE, 9p, SMB...) */
	ODF_REASON_HEAP_DEVICE,         /* the program has a device or socket open that may write to memory past the
	                                   page tables (VFIO, GPUs, RDMA...) */
	ODF_REASON_HEAP_USERFAULT,      /* the program handles page faults itself (userfaultfd) */
	ODF_REASON_HEAP_PROCESS,        /* the keeper cannot be started (RLIMIT_NPROC, pids.max, a PID namespace); or it
	                                   has ended to make room for a process of the program, or for a call that the
	                                   kernel refuses to a process that shares its memory */
	ODF_REASON_NO_POOL,             /* no pool was given */
	ODF_REASON_HEAP_MERGED,         /* the kernel merges equal pages of the process (PR_SET_MEMORY_MERGE) */
	ODF_REASON_CLONE_FLAG,          /* this kernel lacks a flag of clone3 (Linux 7.1), or libc does not pass it:
	                                   ODF_SPAWN_AUTOREAP, _KILL_WITH_PIDFD, _BORN_NO_NEW_PRIVS */
	ODF_REASON_COUNT
} odf_reason;

/* What happened and why. The caller sets it to ODF_REPORT_INIT once; each call that takes it fills all of it. Since
 * 0.1.0. */
typedef struct odf_report {
	size_t size;
	odf_strategy strategy; /* how the process was made; on failure the last one tried */
	odf_step step;         /* ODF_STEP_NONE on success */
	int index;             /* of the action, limit...; -1 if the step has none */
	int error;             /* errno value; 0 on success. ECHILD: the child died before exec, see wait_status */
	int wait_status;       /* with ECHILD: as from waitpid; else 0 */
	odf_reason despite;    /* why the strategy is not taken unless asked for by name, if it was; else
	                          ODF_REASON_NONE */
	uint64_t forgiven;     /* ODF_FORGIVE() set of the steps that failed and were forgiven, see `forgive` */
	uint64_t elapsed_ns;   /* how long the call suspended the caller, nanoseconds of CLOCK_MONOTONIC */
	odf_reason reason[ODF_STRATEGY_ROOM]; /* by strategy */
} odf_report;

#define ODF_REPORT_INIT ODF_SIZED_(odf_report)

/* Short stable names for programs ("vfork", "exec") and a sentence for people. For a value out of range: "unknown". The
 * strings are static. Async-signal-safe. Since 0.1.0. */
const char *odf_strategy_name(odf_strategy strategy);
const char *odf_step_name(odf_step step);
const char *odf_reason_name(odf_reason reason);
const char *odf_reason_text(odf_reason reason);

/* Writes the report as text of a few lines, as snprintf does: at most `size` bytes with the final NUL. Returns the
 * length of the whole text, or -1 with errno EINVAL for a NULL or ill-sized report. Async-signal-safe. Since 0.1.0. */
int odf_report_format(const odf_report *report, char *buffer, size_t size);

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

/* fork(), by the fastest safe strategy. Runs the pthread_atfork handlers, as fork does. Errors: those of fork (EAGAIN,
 * ENOMEM, ENOSYS). Async-signal-safe where libc's fork is. Since 0.1.0. */
pid_t odf_fork(void);

typedef struct odf_fork_options {
	size_t size;
	unsigned allow; /* ODF_ALLOW() set; 0 for any. If none of them is possible: ENOTSUP, and no process is made. If
	                   forks of the process are on demand already, this one is too, whatever is allowed, and the
	                   report says KERNEL */
	int *pidfd;     /* if not NULL: receives, in the parent, a descriptor of the child as from pidfd_open (Linux
	                   5.3), close-on-exec, which the caller closes. In the child, -1. */
} odf_fork_options;

#define ODF_FORK_OPTIONS_INIT ODF_SIZED_(odf_fork_options)

/* odf_fork with options and a report; either may be NULL. The report is filled in the parent only. Errors: those of
 * fork; EINVAL (size, unknown bits in `allow`, a strategy that no fork can use); E2BIG (a newer structure); ENOTSUP (no
 * allowed strategy is possible); with pidfd also ENOSYS, EPERM, EMFILE, ENFILE, ENOMEM, all found before the fork. If
 * the descriptor fails after the fork all the same, the process exists, its pid is returned, *pidfd is -1, and the
 * report has ODF_STEP_PIDFD with the error. Async-signal-safe where libc's fork is. Since 0.1.0. */
pid_t odf_fork_with(const odf_fork_options *options, odf_report *report);

/* ---- Spawn ------------------------------------------------------------------------------------------------------- */

/* What happens to one descriptor number of the child. All actions of a request form one map and are applied at once:
 * sources are the caller's descriptors at the time of the call, so swaps and cycles work. Each number may be a target
 * only once. */
typedef enum odf_fd_kind {
	ODF_FD_KIND_DUP = 1, /* fd becomes a copy of the caller's `source`, open across exec, even if the two are
	                        equal */
	ODF_FD_KIND_OPEN,    /* fd becomes `path`, which the child opens with `flags` and `mode` after it has changed
	                        its directory */
	ODF_FD_KIND_CLOSE,   /* fd is closed; it is no error if it was not open */
	ODF_FD_KIND_NULL,    /* fd becomes /dev/null, open for reading and writing */
	ODF_FD_KIND_KEEP,    /* fd stays open across exec, whatever its close-on-exec flag and
	                        ODF_SPAWN_CLOSE_OTHER_FDS say */
	ODF_FD_KIND_OPEN_AT  /* as OPEN; a relative path starts at the caller's directory `source`, or AT_FDCWD (since
	                        0.2.0) */
} odf_fd_kind;

/* The structure does not grow, as programs make arrays of it. Later versions may add kinds. */
typedef struct odf_fd_action {
	odf_fd_kind kind;
	int fd;
	int source;
	int flags;
	mode_t mode;
	const char *path;
} odf_fd_action;

/* Each is one odf_fd_action, in initialisers and elsewhere:
 * odf_fd_action map[] = { ODF_FD_DUP(1, log), ODF_FD_NULL(0) }; */
#define ODF_FD_DUP(fd, source)             ODF_FD_ACTION_(ODF_FD_KIND_DUP, fd, source, 0, 0, NULL)
#define ODF_FD_OPEN(fd, path, flags, mode) ODF_FD_ACTION_(ODF_FD_KIND_OPEN, fd, -1, flags, mode, path)
#define ODF_FD_OPEN_AT(fd, directory, path, flags, mode) \
	ODF_FD_ACTION_(ODF_FD_KIND_OPEN_AT, fd, directory, flags, mode, path)
#define ODF_FD_CLOSE(fd)                   ODF_FD_ACTION_(ODF_FD_KIND_CLOSE, fd, -1, 0, 0, NULL)
#define ODF_FD_NULL(fd)                    ODF_FD_ACTION_(ODF_FD_KIND_NULL, fd, -1, 0, 0, NULL)
#define ODF_FD_KEEP(fd)                    ODF_FD_ACTION_(ODF_FD_KIND_KEEP, fd, -1, 0, 0, NULL)

/* For the macros only. */
#ifdef __cplusplus
static inline odf_fd_action odf_fd_action_(odf_fd_kind kind, int fd, int source, int flags, mode_t mode,
					   const char *path)
{
	odf_fd_action action = odf_fd_action();
	action.kind = kind;
	action.fd = fd;
	action.source = source;
	action.flags = flags;
	action.mode = mode;
	action.path = path;
	return action;
}
#define ODF_FD_ACTION_(kind, fd, source, flags, mode, path) \
	(odf_fd_action_((kind), (fd), (source), (flags), static_cast<mode_t>(mode), (path)))
#else
#define ODF_FD_ACTION_(kind, fd, source, flags, mode, path) \
	(__extension__(odf_fd_action){ (kind), (fd), (source), (flags), (mode), (path) })
#endif

/* A namespace to join: a descriptor of it (/proc/PID/ns/...), with 0 or the CLONE_NEW* that it must be; or a pidfd with
 * a set of CLONE_NEW* (Linux 5.8). A pid namespace is joined for the program's children. Since 0.2.0. */
typedef struct odf_namespace {
	int fd;
	int type;
} odf_namespace;

/* An I/O priority: class 1 (real time), 2 (best effort) or 3 (idle), and level 0 (highest) to 7. Since 0.2.0. */
#define ODF_IOPRIO(io_class, level) ((io_class) << 13 | (level))

typedef struct odf_rlimit {
	int resource; /* RLIMIT_* */
	struct rlimit limit;
} odf_rlimit;

/* Flags of odf_spawn_options. The library uses an option that has a flag only if the flag is set. The descriptors
 * cwd_fd, exec_fd, cgroup_fd and tty_fd are used without their flag too if they are above 0, so only descriptor 0 needs
 * it. With the flag a descriptor below 0 is EINVAL; without it -1 means none. Since 0.1.0; those from CWD_FD on since
 * 0.2.0, with the members that they name. */
#define ODF_SPAWN_SEARCH_PATH       0x0001ull      /* look up a `file` without a slash in the caller's PATH */
#define ODF_SPAWN_SETSID            0x0002ull      /* new session; not with SETPGROUP (EINVAL) */
#define ODF_SPAWN_SETPGROUP         0x0004ull      /* process group `pgroup`, 0 for a new one */
#define ODF_SPAWN_FOREGROUND        0x0008ull      /* with SETSID: the terminal at the child's descriptor 0, or at
                                                      `tty_fd`, becomes its controlling terminal. Otherwise: the child's
                                                      process group becomes the foreground group of the controlling
                                                      terminal, which is /dev/tty, or `tty_fd`; if a later step fails,
                                                      the previous foreground group is restored */
#define ODF_SPAWN_CLOSE_OTHER_FDS   0x0010ull      /* close every descriptor above 2 that `fds` does not name */
#define ODF_SPAWN_SIGMASK           0x0020ull      /* signal mask `sigmask`; without the flag the calling thread's */
#define ODF_SPAWN_RESET_SIGNALS     0x0040ull      /* set every signal disposition to the default, also those of ignored
                                                      signals. (Without the flag exec's rule holds: handled signals
                                                      become default, ignored ones stay ignored.) */
#define ODF_SPAWN_UMASK             0x0080ull      /* file mode creation mask `umask` */
#define ODF_SPAWN_NICE              0x0100ull      /* nice value `nice` (absolute, -20 to 19) */
#define ODF_SPAWN_UID               0x0200ull      /* real, effective and saved user id `uid`. With one of GROUPS,
                                                      USER_GROUPS and KEEP_GROUPS (else EINVAL), so that no program
                                                      keeps root's groups by mistake */
#define ODF_SPAWN_GID               0x0400ull      /* real, effective and saved group id `gid` */
#define ODF_SPAWN_GROUPS            0x0800ull      /* supplementary groups `groups`; with group_count 0, none */
#define ODF_SPAWN_SCHED             0x1000ull      /* scheduling policy `sched_policy` with `sched_param` */
#define ODF_SPAWN_NO_NEW_PRIVS      0x2000ull      /* no_new_privs: exec grants nothing, whatever the file's mode */

#define ODF_SPAWN_DETACH            0x4000ull      /* the process is not the caller's child: the caller need not wait
                                                      for it and gets no SIGCHLD. Its parent is init or the nearest
                                                      subreaper; if that is the caller, it must wait for the process.
                                                      The session, process group, terminal and streams stay the caller's
                                                      unless SETSID and `fds` change them. (By FORK an intermediate
                                                      process is the caller's child for a moment, and its SIGCHLD may be
                                                      seen.) Not with parent_death_signal; ENOTSUP after
                                                      unshare(CLONE_NEWPID) */

#define ODF_SPAWN_CWD_FD            0x10000ull     /* the working directory is the one that `cwd_fd` refers to */
#define ODF_SPAWN_EXEC_FD           0x20000ull     /* the program is the file that `exec_fd` refers to */
#define ODF_SPAWN_CGROUP_FD         0x40000ull     /* the cgroup is the one whose directory `cgroup_fd` refers to */
#define ODF_SPAWN_TTY_FD            0x80000ull     /* the terminal of FOREGROUND is the one that `tty_fd` refers to */
#define ODF_SPAWN_KEEP_GROUPS       0x100000ull    /* with UID: keep the caller's supplementary groups */
#define ODF_SPAWN_USER_GROUPS       0x200000ull    /* with UID: the supplementary groups are those of the user `uid` in
                                                      the group database, plus `gid`, or the user's own group without
                                                      GID, as by initgroups. Looked up by the caller (getpwuid_r,
                                                      getgrouplist) */
#define ODF_SPAWN_SIGDEFAULT        0x400000ull    /* the signals in `sigdefault` get their default disposition */
#define ODF_SPAWN_SEARCH_CHILD_PATH 0x800000ull    /* as SEARCH_PATH, in the PATH of the child's environment. Not with
                                                      SEARCH_PATH */
#define ODF_SPAWN_IOPRIO            0x1000000ull   /* I/O priority `ioprio` */
#define ODF_SPAWN_OOM_SCORE_ADJ     0x2000000ull   /* oom_score_adj, -1000 to 1000: which process the kernel kills when
                                                      memory is short */
#define ODF_SPAWN_AMBIENT           0x4000000ull   /* set the ambient capabilities to those in `ambient`, also across a
                                                      change of user */
#define ODF_SPAWN_PIPE_STDIN        0x8000000ull   /* standard input is a pipe; the caller gets the other end in
                                                      `pipes` */
#define ODF_SPAWN_PIPE_STDOUT       0x10000000ull
#define ODF_SPAWN_PIPE_STDERR       0x20000000ull
#define ODF_SPAWN_PIPES           (ODF_SPAWN_PIPE_STDIN | ODF_SPAWN_PIPE_STDOUT | ODF_SPAWN_PIPE_STDERR)
#define ODF_SPAWN_STDERR_TO_STDOUT  0x40000000ull  /* standard error is what standard output is. Not with PIPE_STDERR */
#define ODF_SPAWN_NO_WAIT           0x80000000ull  /* with `pool` (else EINVAL): the call returns when the process
                                                      exists, and does not wait for exec; see odf_pool_spawn */

/* Flags of clone3 since Linux 7.1, by POOL and VFORK. If the kernel lacks them: ENOTSUP with ODF_REASON_CLONE_FLAG, at
 * step REQUEST (at CLONE if it could not be asked before). Since 0.2.0. */
#define ODF_SPAWN_AUTOREAP          0x100000000ull /* the kernel reaps the process when it ends, whoever its parent is
                                                      by then: no zombie, no SIGCHLD, and no process can wait for it.
                                                      Until then it is the caller's child. `pidfd` says when it has
                                                      ended, and PIDFD_GET_INFO how */
#define ODF_SPAWN_KILL_WITH_PIDFD   0x200000000ull /* AUTOREAP; and SIGKILL ends the process when the last copy of
                                                      `pidfd` is closed, in this process and in those that have
                                                      inherited it, or these have ended. With `pidfd`, not with DETACH
                                                      (else EINVAL). With BORN_NO_NEW_PRIVS, or CAP_SYS_ADMIN (else
                                                      EPERM, with step CLONE) */
#define ODF_SPAWN_BORN_NO_NEW_PRIVS 0x400000000ull /* as NO_NEW_PRIVS, from the creation of the process on */

/* A set of steps whose failure is ignored: the program is started all the same, and the report's `forgiven` names the
 * step. Allowed: NICE, SCHED, IOPRIO, AFFINITY, RLIMIT, CGROUP, OOM_SCORE. */
#define ODF_FORGIVE(step) (1ull << (step))

/* A pool, and a program that is being started: see below. Since 0.2.0. */
typedef struct odf_pool odf_pool;
typedef struct odf_launch odf_launch;

typedef struct odf_spawn_options {
	size_t size;
	uint64_t flags;             /* ODF_SPAWN_* */
	uint64_t forgive;           /* ODF_FORGIVE() set */
	unsigned allow;             /* ODF_ALLOW() set of POOL, POSIX_SPAWN, VFORK and FORK; 0 for any */
	int cwd_fd;                 /* working directory by descriptor (ODF_SPAWN_CWD_FD, or above 0); with `cwd`: where
	                               a relative `cwd` starts */
	const char *cwd;            /* working directory; NULL: the caller's */
	int exec_fd;                /* execute the file open at this descriptor of the caller instead of `file`
	                               (ODF_SPAWN_EXEC_FD, or above 0). A script needs the descriptor open across exec:
	                               name it in `fds` with ODF_FD_KEEP */
	int cgroup_fd;              /* start in this cgroup, a descriptor of its directory (ODF_SPAWN_CGROUP_FD, or
	                               above 0) */
	const odf_fd_action *fds;
	size_t fd_count;
	int *pidfd;                 /* if not NULL: receives a descriptor of the child (Linux 5.2; by FORK 5.3),
	                               close-on-exec, which the caller closes; -1 on failure */
	pid_t pgroup;
	sigset_t sigmask;
	mode_t umask;
	int nice;
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t group_count;
	const odf_rlimit *rlimits;
	size_t rlimit_count;
	const cpu_set_t *affinity;  /* NULL: the caller's */
	size_t affinity_size;       /* bytes, as for sched_setaffinity */
	int sched_policy;
	struct sched_param sched_param;
	int parent_death_signal;    /* sent to the child when the *thread* that called odf_spawn ends; 0: none. See
	                               prctl(2) */
	const struct sock_fprog *seccomp; /* filter, installed last; it must allow execve (execveat with exec_fd;
	                                     nanosleep with busy_retry_ms). Needs NO_NEW_PRIVS or privilege */
	int (*pre_exec)(void *arg); /* runs in the child before exec; returns 0, or an errno value, which fails the
	                               spawn. Forces FORK */
	void *pre_exec_arg;
	unsigned busy_retry_ms;     /* how long to retry while the program's file is open for writing (ETXTBSY), in
	                               milliseconds of waiting; 0: no retry. The caller is suspended meanwhile */
	int tty_fd;                 /* the terminal of FOREGROUND, a descriptor of the caller (ODF_SPAWN_TTY_FD, or
	                               above 0) */
	sigset_t sigdefault;
	const char *const *env_edits; /* changes of the environment: "NAME=VALUE" sets, "NAME" removes; the last edit of
	                                 a name counts */
	size_t env_edit_count;
	const char *root;           /* root directory (chroot), set before cwd; without cwd and cwd_fd it is the working
	                               directory too. NULL: the caller's */
	const odf_namespace *namespaces; /* joined in this order (setns) */
	size_t namespace_count;
	const struct sched_attr *sched_attr; /* scheduling as for sched_setattr(2); its own `size` is its length. Not
	                                        with SCHED. NULL: the caller's */
	uint64_t ambient;           /* a bit, 1ull << CAP_*, for each capability */
	int *pipes;                 /* int[3]: receives the caller's ends of the pipes, close-on-exec, which the caller
	                               closes; -1 where there is none and on failure. Required with PIPE_* */
	int ioprio;                 /* ODF_IOPRIO() */
	int oom_score_adj;
	unsigned reserved[2];
	odf_pool *pool;             /* the pool to spawn by: odf_pool_create. NULL: none */
	odf_launch **launch;        /* with NO_WAIT, if not NULL: receives a handle that tells whether the program was
	                               executed, which the caller frees; NULL on failure */
} odf_spawn_options;

#define ODF_SPAWN_OPTIONS_INIT ODF_SIZED_(odf_spawn_options)

/* Starts a program. `file` is its path (or name, with ODF_SPAWN_SEARCH_PATH), `argv` its arguments, at least argv[0];
 * `envp` its environment, NULL for the caller's. *pid (pid may be NULL) receives the child's pid; the caller must wait
 * for it. `options` and `report` may be NULL.
 *
 * The child takes the steps in the order of odf_step, so relative paths (program, opened files) start at the new
 * directory, and files are opened with the caller's ids. If a step fails, no process is left and no descriptor is open
 * that was not open before; files that an ODF_FD_OPEN has created stay.
 *
 * Returns 0 or an errno value; the report has the step. With step REQUEST: EINVAL (unknown flag or bit, options that
 * exclude each other, a descriptor number below 0, a number that is a target twice, NULL where it is not allowed, an id
 * of -1), E2BIG (a newer structure), ENOTSUP (no allowed strategy can do it), ENOMEM. Before a process is made: GROUPS:
 * ENOENT (no such user), ENOSYS (a static program); PIPES: EMFILE, ENFILE. With CLONE: EAGAIN, ENOMEM. ECHILD at any
 * step: the child died there; wait_status has its status. Otherwise the error of the step's system call: FD: EBADF (not
 * open, or a number beyond the limit), EMFILE (no number left) or open's; CGROUP: EBUSY (it is frozen: the child could
 * not reach exec, and the caller would be suspended, until it is thawed); EXEC: ENOENT, EACCES (no execute permission),
 * ENOEXEC (not a program: no shell is tried), ETXTBSY, E2BIG...
 *
 * Not async-signal-safe. May be called while other threads run; they continue. Not a cancellation point. The calling
 * thread is suspended until the program is executed: by VFORK with all signals but SIGKILL blocked, by FORK with its
 * signals deliverable.
 *
 * A VFORK child that changes its ids does so while it shares the caller's memory, just before exec. The kernel then
 * clears the dumpable flag of that memory, which prevents the new user from tracing it (unless fs.suid_dumpable is 1).
 * The library restores the caller's flag when no such child is left. Until then the caller is not dumpable either, and
 * a child that another thread forks in that time stays so. To avoid both, allow FORK only. Since 0.1.0. */
int odf_spawn(pid_t *pid, const char *file, char *const argv[], char *const envp[], const odf_spawn_options *options,
	      odf_report *report);

/* libc's posix_spawn and posix_spawnp, counted in ODFORK_STATS. Since 0.1.0. */
int odf_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		    const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);
int odf_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);

/* ---- Processes --------------------------------------------------------------------------------------------------- */

/* A started process, which the caller can wait for with a timeout, send signals to (no other process can get them), and
 * exchange data with over pipes. The library uses a pidfd where the kernel has them (Linux 5.3), else the process id.
 * Several threads may call these functions at once, with two exceptions: odf_process_communicate, and
 * odf_process_close_stream on the same stream, are for one thread at a time; odf_process_close must be the last call.
 * None is async-signal-safe. Since 0.2.0. */
typedef struct odf_process odf_process;

/* odf_spawn with a handle: *process, which the caller frees with odf_process_close; NULL on failure. The handle owns
 * the streams that `options` makes pipes (ODF_SPAWN_PIPE_*). Returns 0, or an errno value: those of odf_spawn; EINVAL
 * with step REQUEST also for `process` NULL, `pidfd` or `pipes` in the options, and ODF_SPAWN_DETACH, _AUTOREAP and
 * _KILL_WITH_PIDFD. Since 0.2.0. */
int odf_process_spawn(odf_process **process, const char *file, char *const argv[], char *const envp[],
		      const odf_spawn_options *options,
		      odf_report *report);

/* The process id. Since 0.2.0. */
pid_t odf_process_id(const odf_process *process);

/* odf_process_stream returns the caller's end of the pipe that is the process's standard input (0), output (1) or error
 * (2); -1: none. It is close-on-exec and the handle's: the caller must close it by odf_process_close_stream only. A
 * program that reads its input sees end of file after that. odf_process_close_stream returns 0, or EINVAL if there is
 * no such stream. Since 0.2.0. */
int odf_process_stream(const odf_process *process, int stream);
int odf_process_close_stream(odf_process *process, int stream);

/* Waits until the process has ended, for at most `timeout_ms` milliseconds; 0: does not wait, -1: no limit. *status
 * (status may be NULL) receives the wait status as from waitpid, in this call and each later one. Signals do not
 * interrupt the wait. Returns 0; ETIMEDOUT: the process runs; ECHILD: it has ended, and its status is lost (another
 * wait took it, or SIGCHLD is ignored); EINVAL (NULL, a timeout below -1). Since 0.2.0. */
int odf_process_wait(odf_process *process, int timeout_ms, int *status);

/* Sends the process a signal. Returns 0; ESRCH: it has ended and was waited for, so no other process gets the signal;
 * EINVAL, EPERM. Since 0.2.0. */
int odf_process_kill(odf_process *process, int signal);

/* Input for a process, and what it wrote. Since 0.2.0. */
typedef struct odf_io {
	size_t size;
	const void *input;     /* for its standard input */
	size_t input_length;   /* bytes */
	size_t limit;          /* the most bytes that are collected of each stream; 0: 64 MiB */
	int timeout_ms;        /* milliseconds; 0: no limit */
	int wait_status;       /* result of odf_run: as from waitpid */
	size_t input_done;     /* result: bytes of the input that the process's pipe took */
	char *output;          /* result: what the process wrote to its standard output, with a NUL after it; from
	                          malloc, the caller frees it. NULL: no pipe */
	size_t output_length;  /* result: bytes, without that NUL */
	char *error_output;    /* result: the same for its standard error */
	size_t error_length;
} odf_io;

#define ODF_IO_INIT ODF_SIZED_(odf_io)

/* Writes the input and reads the output at the same time, in whatever order the process reads and writes, until all its
 * output streams that are pipes are at end of file and the input is written; then closes standard input. (Another
 * process that has inherited the other ends delays end of file.) Raises no SIGPIPE. Returns 0, also if the process did
 * not read all the input; ETIMEDOUT; EFBIG: a stream has more than `limit`; ENOMEM; EINVAL, E2BIG. In each case `io`
 * has what was read so far, and the streams can be read further. Since 0.2.0. */
int odf_process_communicate(odf_process *process, odf_io *io);

/* Closes the streams and frees the handle. The process continues; if it was not waited for, the caller must wait for
 * its id. Returns 0, or EINVAL (NULL). Since 0.2.0. */
int odf_process_close(odf_process *process);

/* Runs a program to its end: odf_process_spawn, odf_process_communicate, odf_process_wait. `options` (may be NULL) may
 * say which streams are pipes. If it says none, standard output and error are pipes, and standard input is one if `io`
 * has input, else /dev/null (unless `fds` names them). `io` may be NULL: nothing is collected, and no stream is
 * changed. A program that takes longer than the timeout, or writes more than the limit, is killed by SIGKILL, with its
 * process group if ODF_SPAWN_SETSID or ODF_SPAWN_SETPGROUP with 0 gives it one of its own. Returns 0 if the program ran
 * and ended in any way: see `wait_status`; the errors of odf_spawn, for which the report has the step; ETIMEDOUT,
 * EFBIG, ENOMEM: it was killed for that; ECHILD: its status is lost. Since 0.2.0. */
int odf_run(const char *file, char *const argv[], char *const envp[], const odf_spawn_options *options, odf_io *io,
	    odf_report *report);

/* ---- Pool -------------------------------------------------------------------------------------------------------- */

/* For programs that start many programs, or run many functions in other processes: odf_pool. */

#define ODF_POOL_NO_TASKS 0x0001ull /* for odf_pool_spawn only: the pool makes no copy of the program for tasks */

typedef struct odf_pool_options {
	size_t size;
	uint64_t flags; /* ODF_POOL_* */
	/* Worker processes, see odf_pool_submit: */
	unsigned workers_min; /* this many exist from the first task on, idle or not; at most 256 */
	unsigned workers_max; /* at most 256; 0: the number of processors, or workers_min if that is greater */
	unsigned idle_ms;     /* how long a worker above workers_min may be idle, in milliseconds; 0: 10 seconds */
	unsigned queue;       /* the most tasks that are submitted and not freed, at most 1048576; 0: 16384 */
} odf_pool_options;

#define ODF_POOL_OPTIONS_INIT ODF_SIZED_(odf_pool_options)

/* Makes a pool; `options` may be NULL. Returns NULL with errno on failure: EINVAL (size, unknown flag), E2BIG (a newer
 * structure), ENOMEM, EAGAIN, EMFILE, ENFILE; ENOTSUP (after unshare(CLONE_NEWPID)). Not async-signal-safe. Since
 * 0.2.0. */
odf_pool *odf_pool_create(const odf_pool_options *options);

/* Frees the pool, and ends all processes that it made for tasks. Programs that it started continue. Must be the last
 * call on a pool. Returns 0, or EINVAL (NULL), EPERM (the pool is that of the process that forked this one). Since
 * 0.2.0. */
int odf_pool_destroy(odf_pool *pool);

/* odf_spawn with `pool` in the options: the same arguments, options, order of steps and errors, and the same process,
 * which inherits the state of the caller as of the call. The process is the caller's child, but the caller need not be
 * suspended until it executes its program: with ODF_SPAWN_NO_WAIT the call returns as soon as the process exists, with
 * copies of all it needs.
 *
 * With ODF_SPAWN_NO_WAIT, 0 means that the process exists; it is the caller's child, which the caller must wait for. If
 * a later step fails, it ends with status 127, as `pidfd` and waitpid tell; `launch` tells which step it was. If the
 * request needs a suspended caller (UID, GID, namespaces of users or time, OOM_SCORE_ADJ, FOREGROUND with `seccomp`, or
 * another strategy than POOL), the result is final as without the flag. Bad pointers in the arguments do not give
 * EFAULT, as the library reads them in the caller.
 *
 * Also EINVAL (`pool` NULL, NO_WAIT without a pool, `launch` without NO_WAIT) and EPERM (the pool is that of the
 * process that forked this one), with step REQUEST. Thread-safe, also with the same pool. Since 0.2.0. */
int odf_pool_spawn(odf_pool *pool, pid_t *pid, const char *file, char *const argv[], char *const envp[],
		   const odf_spawn_options *options, odf_report *report);

/* Waits until it is known whether the program was executed, for at most `timeout_ms` milliseconds; 0: does not wait,
 * -1: no limit. Returns 0: it was; ETIMEDOUT: not known yet; EINVAL (NULL, a timeout below -1); EPERM (in a child of
 * the process that started it); or the error of the step that failed, with the step in the report (may be NULL):
 * ECHILD, if the process died before exec. The caller must wait for the process in each case. May be called again.
 * Since 0.2.0. */
int odf_launch_wait(odf_launch *launch, int timeout_ms, odf_report *report);

/* Frees the handle, in whatever state the process is. NULL is allowed. Since 0.2.0. */
void odf_launch_free(odf_launch *launch);

/* ---- Worker tasks ------------------------------------------------------------------------------------------------ */

/* Functions of the program that run in worker processes. A worker runs one task after the other. It is a copy of the
 * program as it was when the pool was made, whenever the worker itself is made, and keeps what earlier tasks have
 * changed in it; see odf_pool_submit(3) for the state that a task finds. Since 0.2.0. */

/* The output of a task. */
typedef struct odf_output odf_output;

/* Runs in a worker. `input` is read-only, aligned to 16 bytes, and never NULL. The caller gets the return value in
 * odf_task_info. */
typedef int (*odf_task_function)(const void *input, size_t length, odf_output *output);

/* Appends to the task's output. Returns 0 or an errno value: ENOMEM, EFBIG, EINVAL (NULL). For task functions only. */
int odf_output_write(odf_output *output, const void *data, size_t length);

/* Appends `length` bytes, which the caller fills before the next call on the output. Returns NULL with errno on
 * failure. For task functions only. */
void *odf_output_room(odf_output *output, size_t length);

/* A task that was submitted. The caller frees it with odf_task_free. */
typedef struct odf_task odf_task;

#define ODF_TASK_FRESH 0x0001ull /* in a new worker, which runs nothing before it and nothing after it */
#define ODF_TASK_FORK  0x0002ull /* in a fork of the program as it is now, made for this task. The caller is suspended
                                    for the fork, which is cheap if memory is in regions */

typedef struct odf_task_options {
	size_t size;
	uint64_t flags;   /* ODF_TASK_* */
	unsigned time_ms; /* the longest time from its start, in milliseconds; then the worker is killed and the answer
	                     is ETIME; 0: no limit */
	unsigned cpu_ms;  /* the same for the worker's processor time */
	size_t memory;    /* bytes of address space that it can take beyond what its worker has (RLIMIT_AS); 0: no
	                     limit */
} odf_task_options;

#define ODF_TASK_OPTIONS_INIT ODF_SIZED_(odf_task_options)

/* Runs `function` in a worker, with a copy of the input. *task receives a handle, NULL on failure. Returns at once: 0,
 * or EINVAL (NULL; unknown flags; size), E2BIG (a newer structure), EFAULT (the template does not have the code of the
 * function: a library was loaded later, or it is no code at all), EAGAIN (as many tasks exist as the pool's `queue`
 * allows; or no process can be made), ENOMEM, EFBIG (input beyond what RLIMIT_FSIZE allows), EMFILE, ENFILE, ENOTSUP
 * (ODF_POOL_NO_TASKS), EPERM (the pool is that of the process that forked this one). Not async-signal-safe. Since
 * 0.2.0. */
int odf_pool_submit(odf_pool *pool, odf_task_function function, const void *input, size_t length, odf_task **task);

/* The same with options, which may be NULL. Since 0.2.0. */
int odf_pool_submit_with(odf_pool *pool, odf_task_function function, const void *input, size_t length,
			 const odf_task_options *options, odf_task **task);

/* Waits until the task has its answer, for at most `timeout_ms` milliseconds (-1: no limit; 0: does not wait). Returns
 * 0: the function has returned, and *output and *length (each pointer may be NULL) receive its output, which stays
 * until the task is freed. Otherwise *output is NULL, and the result is ETIMEDOUT (no answer yet), or the answer, which
 * does not change any more: ECHILD (the worker died; odf_task_info has the wait status), ETIME (a limit), ECANCELED
 * (odf_task_cancel, odf_pool_destroy), ENOMEM (the worker could not map the input), EAGAIN, ENOMEM (no worker could be
 * made). ENOMEM, EIO: the output cannot be read. EPERM: in a child of the process that submitted it. Any number of
 * threads may wait. Since 0.2.0. */
int odf_task_wait(odf_task *task, void **output, size_t *length, int timeout_ms);

/* Cancels the task: one that has not begun is not run; if it runs, its worker is killed. Returns 0: the answer is, or
 * will be, ECANCELED. EALREADY: the task has its answer. EINVAL, EPERM. Since 0.2.0. */
int odf_task_cancel(odf_task *task);

/* Frees the handle and the output; NULL is allowed. May be called at any time: a task without an answer is cancelled
 * first. No other thread may use the handle meanwhile. Since 0.2.0. */
void odf_task_free(odf_task *task);

typedef enum odf_task_state { ODF_TASK_WAITS = 0, ODF_TASK_RUNS, ODF_TASK_ENDED } odf_task_state;

typedef struct odf_task_info {
	size_t size;
	odf_task_state state;
	int error;       /* ENDED: what odf_task_wait returns */
	int result;      /* ENDED with 0: what the function returned */
	int wait_status; /* ENDED with ECHILD or ETIME: the worker's status, as from waitpid; 0: not known, as the
	                    process that reaps workers was killed too */
	pid_t worker;    /* the process that runs or ran the task; 0: none yet, or not known */
	uint64_t run_ns; /* how long it ran, nanoseconds */
} odf_task_info;

#define ODF_TASK_INFO_INIT ODF_SIZED_(odf_task_info)

/* Returns 0, or EINVAL, E2BIG (`size`), EPERM. Since 0.2.0. */
int odf_task_info_get(odf_task *task, odf_task_info *info);

/* A descriptor for poll() and the like. It is readable while tasks have answers that the program has not seen: then
 * call odf_pool_finished until it has no more. The descriptor is the pool's, close-on-exec; the caller must not read
 * it. Returns -1 with errno on failure: EINVAL, EPERM, ENOTSUP, ENOMEM, EMFILE, ENFILE. Since 0.2.0. */
int odf_pool_descriptor(odf_pool *pool);

/* Returns in *task a task that has its answer, unless this function has returned it before or odf_task_wait has
 * returned its answer. Returns 0; ETIMEDOUT (none within `timeout_ms`, as in odf_task_wait); ESRCH (no task is
 * unanswered); EINVAL, EPERM, ENOTSUP, ENOMEM, EMFILE, ENFILE. Since 0.2.0. */
int odf_pool_finished(odf_pool *pool, odf_task **task, int timeout_ms);

typedef struct odf_pool_info {
	size_t size;
	unsigned workers; /* the number that exist now */
	unsigned idle;    /* the number of these without a task */
	uint64_t started; /* workers that the present manager has started */
	uint64_t lost;    /* workers that died: killed, by a limit, or by themselves */
	pid_t manager;    /* the process that makes and reaps them; 0: none yet */
	unsigned reserved;
} odf_pool_info;

#define ODF_POOL_INFO_INIT ODF_SIZED_(odf_pool_info)

/* Returns 0, or EINVAL, E2BIG (`size`), EPERM. Since 0.2.0. */
int odf_pool_info_get(odf_pool *pool, odf_pool_info *info);

/* ---- Regions ----------------------------------------------------------------------------------------------------- */

/* A snapshot region: memory whose page tables fork() need not copy. A program keeps its large data in it. Each child
 * made by libc's fork, _Fork, clone or syscall sees the region as it was at that moment, as ordinary private memory,
 * and neither process sees what the other writes afterwards. These are fork's own semantics; the program makes no extra
 * call around the fork.
 *
 * Between forks the region is LIVE, a shared view of a memfd, at no cost. A fork FREEZES it: the page tables are moved
 * aside as a whole, and parent and child continue on private views of the file, which no process writes while a
 * descendant maps it. When no descendant does, the region is SETTLED: the parent's private pages are merged into the
 * file, and the page tables are moved back. The keeper, a process of the library that shares the program's memory, does
 * that where userfaultfd serves kernel-mode faults; elsewhere see odf_region_settle.
 *
 * The program must not change the mapping itself: no munmap, mremap, mprotect, madvise or mlock on a region's memory. A
 * region cannot hold: thread stacks; process-shared, robust and priority-inheriting mutexes, and words for
 * FUTEX_WAKE_OP; pages that are pinned (O_DIRECT in flight, io_uring buffers, RDMA, process_vm_writev from outside)
 * while the region is not LIVE. A program that pins pages makes the region ODF_REGION_MANUAL, and neither forks nor
 * settles while pages are pinned.
 *
 * Thread safety: any thread may call these functions; odf_region_destroy must be the last call on a region. None is
 * async-signal-safe, except where stated; a fork with regions is, where libc's fork is. */
typedef struct odf_region odf_region;

#define ODF_REGION_MANUAL 0x0001u /* settle only by odf_region_settle */
#define ODF_REGION_HUGE   0x0002u /* while the region is LIVE and no fork is expected, gather the parts that are
                                     resident as a whole into pages of 2 MiB (MADV_COLLAPSE, Linux 6.1; without it
                                     nothing happens): a child's reads then take hundreds of times fewer faults. The
                                     kernel copies each 2 MiB once, and threads that touch them meanwhile wait */

/* Makes a region of `capacity` bytes (rounded up to whole pages; at most 32 TiB). It takes three to five times its
 * capacity of address space, see odf_region_create(3); memory is committed when it is touched, and reads as zeros
 * before. Returns NULL with errno on failure: EINVAL (capacity 0, unknown flag); ENOTSUP
 * (odf_capabilities.strategy[ODF_STRATEGY_REGION] says why not on this machine); ENOMEM (address space, RLIMIT_AS,
 * vm.max_map_count); EMFILE, ENFILE (descriptors); EFBIG (RLIMIT_FSIZE); EPERM, EAGAIN and other errors of a sandbox
 * (the keeper could not be started); EBUSY (the keeper must be started by another thread: this one is nicer than the
 * main thread, or in another cgroup). The caller frees the region with odf_region_destroy. Since 0.1.0. */
odf_region *odf_region_create(size_t capacity, unsigned flags);

/* The address of the region's first byte, page-aligned, the same for the region's whole life and in every child.
 * Async-signal-safe. Since 0.1.0. */
void *odf_region_base(const odf_region *region);

/* Its size in bytes. Async-signal-safe. Since 0.1.0. */
size_t odf_region_capacity(const odf_region *region);

/* Frees memory: the pages from `address` for `length` bytes (rounded up to whole pages) read as zeros from now on, in
 * this process only. In a LIVE region the memory is free at once, in a FROZEN one when the region settles. Returns 0 or
 * an errno value: EINVAL (`address` not page-aligned, or not all inside the region), ENXIO (the memory does not exist,
 * ODF_REGION_ABSENT). Since 0.1.0. */
int odf_region_discard(odf_region *region, void *address, size_t length);

/* Settles the region, and returns when it is LIVE. The caller guarantees that no other thread, no system call in flight
 * and no process that shares its memory touches the region meanwhile; where the keeper can use userfaultfd they may.
 * Needed only where the keeper cannot settle by itself (odf_region_info.settling). Returns 0, also if there was nothing
 * to do, as in a child; EBUSY: a descendant maps the snapshot; ENOMEM, EMFILE; EAGAIN: another thread forked meanwhile,
 * try again; ENOTSUP: the library cannot tell the process's own pages (no /proc). On an error the region stays FROZEN,
 * which is always correct. Since 0.1.0. */
int odf_region_settle(odf_region *region);

/* State of a region. */
typedef enum odf_region_state {
	ODF_REGION_LIVE = 0,  /* the next fork freezes it */
	ODF_REGION_FROZEN,    /* forked and not settled yet: forks copy the page tables of what was touched since */
	ODF_REGION_SETTLING,  /* partly settled */
	ODF_REGION_INHERITED, /* this process is a child: ordinary private memory */
	ODF_REGION_ABSENT,    /* a raw system call that the library did not see made this process, which lacks the
	                         memory: do not touch it */
	ODF_REGION_GIVEN_UP   /* the library had to give the region up: ordinary private memory of this process, as if
	                         mmap had made it; and SETTLES_NEVER */
} odf_region_state;

/* What settles a region. */
typedef enum odf_region_settling {
	ODF_REGION_SETTLES_ALWAYS = 0, /* the keeper, while the program runs */
	ODF_REGION_SETTLES_AT_FORK,    /* a fork, if the process has one thread and settling is cheaper than forking it
	                                  frozen; else odf_region_settle */
	ODF_REGION_SETTLES_BY_CALL,    /* odf_region_settle only: ODF_REGION_MANUAL */
	ODF_REGION_SETTLES_NEVER       /* no /proc/self/pagemap, or it is not certain that no descendant maps the
	                                  snapshot: given up after the next fork */
} odf_region_settling;

typedef struct odf_region_info {
	size_t size;
	odf_region_state state;
	odf_region_settling settling;
	size_t capacity;            /* bytes */
	size_t live_bytes;          /* the part of it that is LIVE */
	size_t resident_bytes;      /* memory (or swap) of the region's file; 0 in a child, as it is not the child's */
	size_t private_bytes;       /* this process's own copies in addition */
	uint64_t freezes;           /* forks that froze something */
	uint64_t settles;           /* times the whole region became LIVE again */
	uint64_t interrupted;       /* settles that a fork interrupted; the next one continues from there */
	uint64_t steps;             /* steps of settles */
	uint64_t merged_pages;      /* private pages written back to the file */
	uint64_t last_pause_ns;     /* nanoseconds for which the last step blocked other threads from memory, or the
	                               caller of a settle or fork */
	uint64_t longest_pause_ns;
	uint64_t last_freeze_ns;    /* nanoseconds that freezing added to the last fork that froze */
} odf_region_info;

#define ODF_REGION_INFO_INIT ODF_SIZED_(odf_region_info)

/* Fills in the state of the region. Returns 0 or an errno value: EINVAL, E2BIG (`size`). Since 0.1.0. */
int odf_region_info_get(const odf_region *region, odf_region_info *info);

/* Unmaps the region and frees it. Descendants keep their memory. Returns 0 or EINVAL (NULL). Since 0.1.0. */
int odf_region_destroy(odf_region *region);

/* ---- Heap -------------------------------------------------------------------------------------------------------- */

/* In a program that is preloaded or linked with libodfork.so, memory can be in regions without its knowledge: anonymous
 * private mappings, and malloc's memory. In a preloaded program that begins when the process has grown past a
 * threshold; in a linked one with odf_heap_enable or ODFORK_HEAP=on. */
typedef enum odf_heap_state { ODF_HEAP_OFF = 0, ODF_HEAP_ASLEEP, ODF_HEAP_AWAKE } odf_heap_state;

/* The malloc that the program uses. Since 0.1.0. */
typedef enum odf_heap_malloc {
	ODF_HEAP_MALLOC_OTHER = 0, /* an allocator of the program's own; its mappings take part */
	ODF_HEAP_MALLOC_LIBC,      /* libc's, whose memory is outside regions: the heap is not awake, or the library
	                              cannot see libc's calls */
	ODF_HEAP_MALLOC_LARGE,     /* never returned since 0.2.0 */
	ODF_HEAP_MALLOC_MIMALLOC,  /* never returned since 0.2.0 */
	ODF_HEAP_MALLOC_IN_PLACE   /* libc's, whose memory is in regions at its own addresses */
} odf_heap_malloc;

typedef struct odf_heap_info {
	size_t size;
	odf_heap_state state;
	odf_reason reason;        /* why the heap is not awake; ODF_REASON_TOO_SMALL: asleep, the process has not grown
	                             past the threshold */
	odf_heap_malloc malloc_door;
	size_t threshold;         /* bytes of private memory at which the heap wakes */
	size_t capacity;          /* bytes of address space of each region; 0: none */
	size_t placed_bytes;      /* address space that was ever in regions */
	size_t inside_bytes;      /* memory (or swap) of the regions */
	size_t outside_bytes;     /* private memory outside: a fork copies page tables for it */
	uint64_t spills;          /* requests that did not fit */
} odf_heap_info;

#define ODF_HEAP_INFO_INIT ODF_SIZED_(odf_heap_info)

/* Wakes the heap now, with regions of up to `capacity` bytes of address space each (rounded up to GiB; 0: twice the
 * machine's memory). Returns 0, also if it is awake already, or an errno value: ENOTSUP (odf_heap_info_get has the
 * reason), ENOMEM, EINVAL (more than a TiB), EBUSY (not by this thread, which has a lower priority than the main one or
 * is in another cgroup). Thread-safe; not async-signal-safe. Since 0.1.0. */
int odf_heap_enable(size_t capacity);

/* Fills in the state of the heap. Returns 0, or EINVAL or E2BIG (`size`). Thread-safe; not async-signal-safe. Since
 * 0.1.0. */
int odf_heap_info_get(odf_heap_info *info);

/* ---- Capabilities ------------------------------------------------------------------------------------------------ */

/* An answer that the library may not know yet. Since 0.1.0. */
typedef enum odf_answer { ODF_ANSWER_NOT_ASKED = 0, ODF_ANSWER_YES, ODF_ANSWER_NO } odf_answer;

/* Questions about the running kernel, sandbox and libc. Since 0.1.0. */
typedef enum odf_probe {
	ODF_PROBE_USE_ODF = 0,    /* /proc/self/use_odf opens for writing: an on-demand-fork kernel */
	ODF_PROBE_CLONE3,         /* clone3 (Linux 5.3) */
	ODF_PROBE_CLONE_VM,       /* a child of clone(CLONE_VM | CLONE_VFORK) shares memory and suspends its parent
	                             until exec */
	ODF_PROBE_PIDFD_OPEN,     /* pidfd_open (5.3) */
	ODF_PROBE_CLOSE_RANGE,    /* close_range (5.9) */
	ODF_PROBE_EXECVEAT,       /* execveat (3.19) */
	ODF_PROBE_PROC,           /* /proc/self/stat is readable */
	ODF_PROBE_UFFD_KERNEL,    /* userfaultfd serves kernel-mode faults for this process */
	ODF_PROBE_UFFD_DEVICE,    /* /dev/userfaultfd makes a userfaultfd; opened by name, or passed in
	                             (ODFORK_UFFD_FD) */
	ODF_PROBE_REMAP,          /* mremap(MREMAP_DONTUNMAP) moves a shared mapping (5.13) */
	ODF_PROBE_MEMFD,          /* memfd_create with seals (3.17) */
	ODF_PROBE_PAGEMAP,        /* /proc/self/pagemap is readable */
	ODF_PROBE_PAGEMAP_SCAN,   /* PAGEMAP_SCAN (6.7) */
	ODF_PROBE_UFFD_MINOR,     /* userfaultfd for kernel-mode faults reports faults on resident pages of a file
	                             (5.14) */
	ODF_PROBE_ASYNC_FORK,     /* memory.async_fork of the process's own memory cgroup opens for writing:
	                             Async-fork */
	ODF_PROBE_ASYNC_FORK_PRCTL, /* kernel.async_fork_enabled is among the sysctls: Async-fork by prctl */
	ODF_PROBE_AUTOREAP,         /* clone3 with CLONE_AUTOREAP: a process that need not be waited for (7.1) */
	ODF_PROBE_CLONE_NNP,        /* clone3 with CLONE_NNP: a process that has no_new_privs from its creation on
	                               (7.1) */
	ODF_PROBE_AUTOKILL,         /* clone3 with CLONE_PIDFD_AUTOKILL and these two: a process that ends with its
	                               descriptor (7.1) */
	ODF_PROBE_COUNT
} odf_probe;

/* How the kernel offers on-demand fork. Only a trial distinguishes the two interfaces behind /proc/self/use_odf. Since
 * 0.1.0. */
typedef enum odf_kernel_interface {
	ODF_KERNEL_INTERFACE_NONE = 0,      /* not at all */
	ODF_KERNEL_INTERFACE_USE_ODF,       /* /proc/self/use_odf, not tried: one of the next two */
	ODF_KERNEL_INTERFACE_USE_ODF_HELD,  /* stays on until 0 is written (published for Linux 5.6.19) */
	ODF_KERNEL_INTERFACE_USE_ODF_ARMED, /* a write arms it for the next clone, from which on it stays on (published
	                                       for 6.0.6) */
	ODF_KERNEL_INTERFACE_ASYNC_FORK,    /* memory.async_fork of the process's own memory cgroup (Alibaba Cloud
	                                       Linux) */
	ODF_KERNEL_INTERFACE_ASYNC_FORK_MODULE, /* the same, without effect unless the module async-fork is loaded
	                                           (OpenCloudOS, TencentOS) */
	ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL,  /* kernel.async_fork_enabled: 1: the process turns it on by prctl; 2:
	                                           always (ByteDance velinux) */
	ODF_KERNEL_INTERFACE_COUNT
} odf_kernel_interface;

typedef struct odf_capabilities {
	size_t size;
	odf_reason strategy[ODF_STRATEGY_ROOM]; /* by strategy. ODF_REASON_NONE: available; else why it is not */
	odf_kernel_interface kernel_interface;
	odf_answer uffd_kernel_faults; /* userfaultfd serves kernel-mode faults: ODF_PROBE_UFFD_KERNEL or
	                                  ODF_PROBE_UFFD_DEVICE */
	size_t page_size;              /* bytes */
	char kernel_release[65];       /* as from uname; for people, the library decides nothing by it */
	char reserved[7];
} odf_capabilities;

#define ODF_CAPABILITIES_INIT ODF_SIZED_(odf_capabilities)

/* Fills in what this machine offers. The library asks each question once per process and keeps the answer, so a process
 * that calls this before it enters a seccomp sandbox keeps true answers, and asks nothing under the filter that it
 * could punish. Returns 0, or EINVAL or E2BIG (`size`). The first call makes short-lived processes (for
 * ODF_PROBE_CLONE_VM, and those of odf_kernel_verify where the kernel offers on-demand fork). No wait() without __WALL
 * or __WCLONE sees them, and they send no SIGCHLD. Not async-signal-safe. Since 0.1.0. */
int odf_capabilities_get(odf_capabilities *capabilities);

/* The answer to one probe, which is asked if it was not before. *error (error may be NULL) receives, with
 * ODF_ANSWER_NO, the errno value of the call that failed (EPROTO: the call succeeded without its effect), otherwise 0.
 * ODF_ANSWER_NOT_ASKED: there was too little memory or too few descriptors, ask again; or the next process would be
 * process 1 of a PID namespace, which would end with the probe. For a probe that the library does not know:
 * ODF_ANSWER_NO with EINVAL. Since 0.1.0. */
odf_answer odf_probe_get(odf_probe probe, int *error);

/* The short name of a probe and its question. Static strings; async-signal-safe. Since 0.1.0. */
const char *odf_probe_name(odf_probe probe);
const char *odf_probe_text(odf_probe probe);

/* Checks of a kernel's on-demand fork, each after such a fork. Since 0.1.0. */
typedef enum odf_kernel_check {
	ODF_KERNEL_CHECK_EFFECT = 0,        /* the child's page tables were not copied. Not checked for Async-fork,
	                                       whose child copies them */
	ODF_KERNEL_CHECK_WRITES,            /* neither process sees what the other writes */
	ODF_KERNEL_CHECK_DISCARD,           /* a page discarded by MADV_DONTNEED reads as zeros */
	ODF_KERNEL_CHECK_DISCARD_NEIGHBORS, /* the pages around it, and those of the other process, keep their
	                                       contents */
	ODF_KERNEL_CHECK_UNMAP_NEIGHBORS,   /* so do the pages around one that munmap removed */
	ODF_KERNEL_CHECK_END,               /* the processes ended as they should, and in time */
	ODF_KERNEL_CHECK_COUNT
} odf_kernel_check;
#define ODF_KERNEL_CHECK_ROOM 16

typedef struct odf_kernel_verdict {
	size_t size;
	odf_kernel_interface interface;
	odf_reason reason;                        /* ODF_REASON_NONE: offered and seen to keep data; else why it is not
	                                             taken unless asked for by name */
	odf_answer check[ODF_KERNEL_CHECK_ROOM];  /* by check. YES: passed; NO: failed; NOT_ASKED: not offered, or it
	                                             could not be tried */
	size_t tables;                            /* bytes of page tables of the process that forked */
	size_t child_tables;                      /* bytes of page tables of its child at its start; both 0 where /proc
	                                             does not say */
	uint64_t elapsed_ns;                      /* how long the trial took, nanoseconds */
} odf_kernel_verdict;

#define ODF_KERNEL_VERDICT_INIT ODF_SIZED_(odf_kernel_verdict)

/* WARNING: kernels have crashed after an on-demand fork, and a crash takes down the machine. Call this only where that
 * is acceptable.
 *
 * If the kernel offers on-demand fork, this tries out in separate processes whether it keeps data, unless this process
 * or the one that forked it has done so before. For the interface that a write arms nothing is forked: the write alone
 * identifies it, and what it loses is known. Takes about a millisecond, 3 MiB and the cost of a fork (the caller's page
 * tables are copied), and not much more than two seconds if something hangs. The switch is set in those processes only
 * (for Async-fork, that of the memory cgroup for a moment). No wait() without __WALL or __WCLONE sees them, they send
 * no SIGCHLD, and no atfork handler runs.
 *
 * Returns 0, also if on-demand fork is not offered or a check fails; or an errno value: EINVAL (NULL, size); ENOMEM,
 * EAGAIN, EMFILE, ENFILE, ENOTSUP (pages of another size than 4096), EBUSY (forks of this process are on demand
 * already, so each process that could try it would be made that way), EPERM and others: it could not be tried. In these
 * cases the verdict is filled too. Not async-signal-safe. Since 0.1.0. */
int odf_kernel_verify(odf_kernel_verdict *verdict);

/* Short stable names, and a sentence for people. Static strings; "unknown" for a value that the library does not know.
 * Async-signal-safe. Since 0.1.0. */
const char *odf_kernel_check_name(odf_kernel_check check);
const char *odf_kernel_check_text(odf_kernel_check check);
const char *odf_kernel_interface_name(odf_kernel_interface interface);

/* "0.2.0": the version of the library that is running. Since 0.1.0. */
const char *odf_version(void);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
