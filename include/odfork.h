/* SPDX-License-Identifier: MIT
 *
 * libodfork: fork() and posix_spawn() that take the fastest safe way, and say which and why.
 *
 * Conventions
 *   - Functions in the style of fork return a pid, or -1 with errno. Functions in the style of posix_spawn return 0 or
 *     an errno value; what they leave in errno is not specified for odf_posix_spawn and odf_posix_spawnp, as for
 *     libc's, and unchanged for the others.
 *   - Structures that may grow start with `size`. Their _INIT macro gives one that asks for nothing, in
 *     initialisations, assignments and calls; so does a structure of zeros with its size set. A `size` below that of
 *     the first header is EINVAL, one above 4096 E2BIG. An input structure from a newer header is accepted as long as
 *     the part unknown to the library is zero, and is E2BIG otherwise. An output structure of any other size is filled
 *     as far as the library knows it, zero beyond; `size` stays the caller's.
 *   - Later versions add members at the end of such structures, and values at the end of enumerations and before their
 *     _COUNT, which is for loops of the program, never the size of an array in a structure. Members named `reserved`
 *     stay zero. A program must expect values that its header does not have; their names can be asked for.
 *   - Pointers in option structures are borrowed until the function returns; nothing is kept.
 *   - Everything here is thread-safe. Async-signal safety is stated where it holds.
 *
 * "Since" is the libodfork version that brought a declaration.
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

/* For the _INIT macros only. In C they are compound literals: in an object of static storage duration a GNU
 * extension, which gcc -pedantic says; { .size = sizeof(TYPE) } is the same. */
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
	ODF_STRATEGY_KERNEL,      /* fork with the kernel's own on-demand copy of page tables */
	ODF_STRATEGY_REGION,      /* fork of a process whose memory is in snapshot regions */
	ODF_STRATEGY_FORK,        /* libc's fork */
	ODF_STRATEGY_VFORK,       /* clone(CLONE_VM | CLONE_VFORK) and exec */
	ODF_STRATEGY_POSIX_SPAWN, /* libc's posix_spawn */
	ODF_STRATEGY_POOL,        /* by a pool: a spawn that need not hold the caller until exec */
	ODF_STRATEGY_COUNT
} odf_strategy;
#define ODF_STRATEGY_ROOM 16 /* elements of arrays by strategy: room for those of later versions */

/* A set of strategies, for the `allow` options: ODF_ALLOW(ODF_STRATEGY_VFORK) | ODF_ALLOW(ODF_STRATEGY_FORK). Zero
 * allows any. */
#define ODF_ALLOW(strategy) (1u << (strategy))

/* What was being done when something failed. The order is the order in which the child does it, but for what later
 * versions add at the end. Since 0.1.0. */
typedef enum odf_step {
	ODF_STEP_NONE = 0,     /* nothing failed */
	ODF_STEP_REQUEST,      /* the arguments were refused, or no allowed strategy can do it; nothing was tried */
	ODF_STEP_PIPES,        /* ODF_SPAWN_PIPE_*; `index` is the stream */
	ODF_STEP_CLONE,        /* making the process (or getting the memory for it) */
	ODF_STEP_SIGNALS,      /* dispositions of signals */
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
	ODF_STEP_GROUPS,       /* ODF_SPAWN_GROUPS, ODF_SPAWN_USER_GROUPS; with no strategy tried: the user could not
	                          be looked up */
	ODF_STEP_GID,          /* ODF_SPAWN_GID */
	ODF_STEP_UID,          /* ODF_SPAWN_UID */
	ODF_STEP_CAPABILITIES, /* ODF_SPAWN_AMBIENT */
	ODF_STEP_PARENT_DEATH, /* parent_death_signal; ESRCH: the parent was gone already */
	ODF_STEP_PRE_EXEC,     /* pre_exec returned an error; `error` is what it returned */
	ODF_STEP_NO_NEW_PRIVS, /* ODF_SPAWN_NO_NEW_PRIVS */
	ODF_STEP_SECCOMP,      /* seccomp */
	ODF_STEP_EXEC,         /* executing the program */
	ODF_STEP_PIDFD,        /* pidfd; no process was made, or see odf_fork_with */
	ODF_STEP_UNKNOWN,      /* libc's posix_spawn failed, which does not say where */
	ODF_STEP_COUNT
} odf_step;

/* Why a strategy was taken or passed over. Since 0.1.0. */
typedef enum odf_reason {
	ODF_REASON_NONE = 0,            /* not considered; in odf_capabilities: available */
	ODF_REASON_CHOSEN,              /* taken */
	ODF_REASON_BETTER_CHOSEN,       /* one that comes first was taken */
	ODF_REASON_NOT_ALLOWED,         /* not in the caller's `allow`, or another was named in ODFORK_STRATEGY */
	ODF_REASON_RETURNS_TWICE,       /* a fork returns in two processes, this strategy cannot */
	ODF_REASON_ENDS_IN_EXEC,        /* a spawn ends in exec and needs none of this */
	ODF_REASON_NOT_BUILT,           /* not part of this version */
	ODF_REASON_NO_PROC,             /* /proc is not mounted or not readable */
	ODF_REASON_KERNEL_NOT_OFFERED,  /* neither /proc/self/use_odf nor Async-fork: not an on-demand-fork kernel */
	ODF_REASON_KERNEL_NOT_WRITABLE, /* /proc/self/use_odf is there and may not be opened for writing */
	ODF_REASON_KERNEL_NOT_VERIFIED, /* offered, not shown to keep data (odf_kernel_verify), so taken only when asked
	                                   for by name */
	ODF_REASON_KERNEL_BUSY,         /* another thread of this process is using the switch */
	ODF_REASON_KERNEL_REFUSED,      /* writing the switch failed */
	ODF_REASON_TOO_SMALL,           /* the process is too small to gain */
	ODF_REASON_NO_REGION,           /* no snapshot region in this process */
	ODF_REASON_PRE_EXEC,            /* pre_exec needs a full fork */
	ODF_REASON_LIBC_NO_OPTION,      /* libc's posix_spawn has no such option */
	ODF_REASON_LIBC_REFUSED,        /* libc's posix_spawn was refused by the kernel or a sandbox */
	ODF_REASON_CLONE_REFUSED,       /* clone(CLONE_VM | CLONE_VFORK) is refused here, by a sandbox or the kernel */
	ODF_REASON_CLONE_VM_FAKE,       /* CLONE_VM does not share memory here (WSL1, user-mode emulation) */
	ODF_REASON_PID_NAMESPACE,       /* after unshare(CLONE_NEWPID) or setns: sharing memory is not tried out by a
	                                   process that would be the first of the new namespace (or that cannot be
	                                   told); a detached process cannot be had there */
	ODF_REASON_REGION_NO_REMAP,     /* the kernel cannot move a shared mapping and leave its place mapped (before
	                                   Linux 5.13) */
	ODF_REASON_REGION_NO_MEMFD,     /* no memfd_create, or a sandbox or sysctl forbids it */
	ODF_REASON_REGION_OVERCOMMIT,   /* strict overcommit (vm.overcommit_memory=2): the memory of a region cannot be
	                                   promised */
	ODF_REASON_REGION_PAGE_SIZE,    /* regions are for pages of 4096 bytes and 64-bit processes */
	ODF_REASON_REGION_REFUSED,      /* the regions could not be frozen (out of memory, of mappings, or a limit) */
	/* Found by odf_kernel_verify; taken only when asked for by name: */
	ODF_REASON_KERNEL_LOSES_WRITES,    /* after an on-demand fork one process sees what the other writes */
	ODF_REASON_KERNEL_LOSES_NEIGHBORS, /* MADV_DONTNEED or munmap of a page then wipes pages around it */
	ODF_REASON_KERNEL_LOSES_DISCARDS,  /* a page given back by MADV_DONTNEED then does not read as zeros */
	ODF_REASON_KERNEL_DIES,            /* a process ended, or hung, where it should not */
	ODF_REASON_KERNEL_UNSAFE,          /* it is said to lose data: ODFORK_KERNEL=unsafe */
	/* Not taken, even by name: */
	ODF_REASON_KERNEL_NO_EFFECT, /* the switch was set, and the page tables were copied all the same; or nothing is
	                              * behind the switch: a module is not loaded (modprobe async-fork), a sysctl is 0
	                              * (kernel.async_fork_enabled) */
	ODF_REASON_KERNEL_REGIONS,   /* the process has snapshot regions, and the kernel is not shown to keep data */
	ODF_REASON_KERNEL_CGROUP,    /* the process is in another memory cgroup than the switch that was found */
	ODF_REASON_REGION_KERNEL,    /* forks of this process are on demand, by a kernel that is not shown to keep
	                                data */
	ODF_REASON_HEAP_OFF,            /* the heap was not asked for: the library is linked and not preloaded, or
	                                   ODFORK_HEAP=off */
	ODF_REASON_HEAP_NOT_INTERPOSED, /* the static library interposes nothing, so there is no heap; or the program
	                                   has loaded another C library beside its own (dlmopen) */
	ODF_REASON_HEAP_NO_SETTLING,    /* several threads and no userfaultfd for kernel-mode faults, or no
	                                   /proc/self/pagemap: a region could not be settled */
	ODF_REASON_HEAP_NO_ROOM,        /* no address space or descriptors for the heap's region */
	ODF_REASON_HEAP_PIECES,         /* the program's memory is in so many small mappings that a fork pays more for
	                                   them than it saves */
	ODF_REASON_HEAP_LOCKED,         /* the program locks its memory (mlockall) */
	ODF_REASON_HEAP_SANDBOX,        /* a seccomp sandbox, which may punish what the heap takes,
	                                   or a clock that traps (PR_SET_TSC) */
	ODF_REASON_HEAP_LIMIT,          /* a limit of address space, data or file size, against which a region counts
	                                   otherwise, or of processor time */
	ODF_REASON_HEAP_PINS,           /* memory may be pinned: the program has a file open for direct input, or a ring
	                                   of io_uring */
	ODF_REASON_HEAP_KERNEL,         /* forks are on demand by the kernel, which keeps data or was asked for by
	                                   name */
	ODF_REASON_HEAP_FILE_SYSTEM,    /* the program has a file open of a file system that may read past the page
	                                   tables (FUSE, 9p, SMB...) */
	ODF_REASON_HEAP_DEVICE,         /* the program has a device or socket open that may write to memory past the
	                                   page tables (VFIO, GPUs, RDMA...) */
	ODF_REASON_HEAP_USERFAULT,      /* the program serves page faults itself (userfaultfd) */
	ODF_REASON_HEAP_PROCESS,        /* the keeper cannot be started (RLIMIT_NPROC, pids.max, a PID namespace), or
	                                   has ended so that the program could make a process, or a call that takes
	                                   memory which no other process shares */
	ODF_REASON_NO_POOL,             /* no pool was given */
	ODF_REASON_HEAP_MERGED,         /* the kernel is to merge equal pages of the process (PR_SET_MEMORY_MERGE) */
	ODF_REASON_CLONE_FLAG,          /* a flag of clone3 (Linux 7.1) that this kernel lacks, or that libc does not
	                                   pass: ODF_SPAWN_AUTOREAP, _KILL_WITH_PIDFD, _BORN_NO_NEW_PRIVS */
	ODF_REASON_COUNT
} odf_reason;

/* What happened and why. Give a pointer to one that was set to ODF_REPORT_INIT; any call that takes it fills all of it.
 * Since 0.1.0. */
typedef struct odf_report {
	size_t size;
	odf_strategy strategy; /* how the process was made; on failure what was tried last */
	odf_step step;         /* ODF_STEP_NONE on success */
	int index;             /* which action, limit...; -1 where the step has none */
	int error;             /* errno value; 0 on success. ECHILD: the child died before exec, see wait_status */
	int wait_status;       /* with ECHILD: as from waitpid; else 0 */
	odf_reason despite;    /* what keeps the strategy from being taken unless it is asked for by name, as it was;
	                          else ODF_REASON_NONE */
	uint64_t forgiven;     /* ODF_FORGIVE() set of the steps that failed and were forgiven, see `forgive` */
	uint64_t elapsed_ns;   /* how long the caller was held, nanoseconds of CLOCK_MONOTONIC */
	odf_reason reason[ODF_STRATEGY_ROOM]; /* by strategy */
} odf_report;

#define ODF_REPORT_INIT ODF_SIZED_(odf_report)

/* Short stable names for machines ("vfork", "exec") and a sentence for people. A value out of range gives "unknown".
 * The strings are static. Async-signal-safe. Since 0.1.0. */
const char *odf_strategy_name(odf_strategy strategy);
const char *odf_step_name(odf_step step);
const char *odf_reason_name(odf_reason reason);
const char *odf_reason_text(odf_reason reason);

/* Writes the report as text of a few lines, in the manner of snprintf: at most `size` bytes with the final NUL; the
 * result is the length that the whole text has, or -1 with errno EINVAL for a NULL or ill-sized report.
 * Async-signal-safe. Since 0.1.0. */
int odf_report_format(const odf_report *report, char *buffer, size_t size);

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

/* fork(), by the fastest safe strategy. Runs the pthread_atfork handlers, as fork does. Errors: those of fork (EAGAIN,
 * ENOMEM, ENOSYS). Async-signal-safe where libc's fork is. Since 0.1.0. */
pid_t odf_fork(void);

typedef struct odf_fork_options {
	size_t size;
	unsigned allow; /* ODF_ALLOW() set; 0 for any. If none of the set is possible: ENOTSUP, and no process. Where
	                   forks are on demand already they are so whatever is allowed, and the report says KERNEL */
	int *pidfd;     /* if not NULL: receives, in the parent, a descriptor of the child as from pidfd_open (Linux
	                   5.3), close-on-exec, the caller's to close. In the child, -1. */
} odf_fork_options;

#define ODF_FORK_OPTIONS_INIT ODF_SIZED_(odf_fork_options)

/* odf_fork with options and a report; either may be NULL. The report is filled in the parent only.
 * Errors: those of fork; EINVAL (size, unknown bits in `allow`, a strategy that no fork can use); E2BIG (a newer
 * structure); ENOTSUP (no allowed strategy is possible); with pidfd also ENOSYS, EPERM, EMFILE, ENFILE, ENOMEM, all
 * found before anything is forked. Should the descriptor still fail after that, the process exists, its pid is
 * returned, *pidfd is -1, and the report has ODF_STEP_PIDFD with the error. Async-signal-safe where libc's fork is.
 * Since 0.1.0. */
pid_t odf_fork_with(const odf_fork_options *options, odf_report *report);

/* ---- Spawn ------------------------------------------------------------------------------------------------------- */

/* What happens to one descriptor number of the child. All actions of a request together are one map, applied at once:
 * sources are the caller's descriptors as they are when odf_spawn is called, so swaps and cycles work. Each number may
 * be a target once. */
typedef enum odf_fd_kind {
	ODF_FD_KIND_DUP = 1, /* fd becomes a copy of the caller's `source`, open across exec, also where they are
	                        equal */
	ODF_FD_KIND_OPEN,    /* fd becomes `path`, opened in the child with `flags` and `mode` after cwd was changed */
	ODF_FD_KIND_CLOSE,   /* fd is closed; that it was not open is no error */
	ODF_FD_KIND_NULL,    /* fd becomes /dev/null, open for reading and writing */
	ODF_FD_KIND_KEEP,    /* fd stays open across exec, whatever its close-on-exec flag and
	                        ODF_SPAWN_CLOSE_OTHER_FDS say */
	ODF_FD_KIND_OPEN_AT  /* as OPEN; a relative path is relative to the caller's directory `source`, or AT_FDCWD
	                        (since 0.2.0) */
} odf_fd_kind;

/* Elements of arrays do not grow; later versions may add kinds. */
typedef struct odf_fd_action {
	odf_fd_kind kind;
	int fd;
	int source;
	int flags;
	mode_t mode;
	const char *path;
} odf_fd_action;

/* An odf_fd_action each, for initialisers and elsewhere:
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

/* A namespace to join: a descriptor of it (/proc/PID/ns/...), with 0 or the CLONE_NEW* that it must be of; or a
 * pidfd with a set of CLONE_NEW* (Linux 5.8). A pid namespace is that of the program's children. Since 0.2.0. */
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

/* Flags of odf_spawn_options. An option that has a flag is used only with it; the descriptors cwd_fd, exec_fd,
 * cgroup_fd and tty_fd without it too if they are above 0, so that only 0 needs the flag. With the flag a descriptor
 * below 0 is EINVAL; without it, -1 is none. Since 0.1.0; those from CWD_FD on since 0.2.0, with the members that
 * they name. */
#define ODF_SPAWN_SEARCH_PATH       0x0001ull      /* a `file` without a slash is looked up in the caller's PATH */
#define ODF_SPAWN_SETSID            0x0002ull      /* new session; not together with SETPGROUP (EINVAL) */
#define ODF_SPAWN_SETPGROUP         0x0004ull      /* process group `pgroup`, 0 for a new one */
#define ODF_SPAWN_FOREGROUND        0x0008ull      /* with SETSID: the terminal at the child's descriptor 0, or at
                                                      `tty_fd`, becomes its controlling terminal. Otherwise: the
                                                      child's process group becomes the foreground group of the
                                                      controlling terminal, which is /dev/tty, or `tty_fd`; should a
                                                      later step fail, the group that was is again */
#define ODF_SPAWN_CLOSE_OTHER_FDS   0x0010ull      /* close every descriptor above 2 that `fds` does not name */
#define ODF_SPAWN_SIGMASK           0x0020ull      /* signal mask `sigmask`; otherwise the calling thread's */
#define ODF_SPAWN_RESET_SIGNALS     0x0040ull      /* every disposition becomes the default one, of ignored signals
                                                      too. (Handled signals always become default, ignored ones
                                                      otherwise stay ignored: exec's rule.) */
#define ODF_SPAWN_UMASK             0x0080ull      /* file mode creation mask `umask` */
#define ODF_SPAWN_NICE              0x0100ull      /* nice value `nice` (absolute, -20 to 19) */
#define ODF_SPAWN_UID               0x0200ull      /* real, effective and saved user id `uid`. With one of GROUPS,
                                                      USER_GROUPS and KEEP_GROUPS (else EINVAL), so that nobody
                                                      keeps root's groups by mistake */
#define ODF_SPAWN_GID               0x0400ull      /* real, effective and saved group id `gid` */
#define ODF_SPAWN_GROUPS            0x0800ull      /* supplementary groups `groups`; with group_count 0, none */
#define ODF_SPAWN_SCHED             0x1000ull      /* scheduling policy `sched_policy` with `sched_param` */
#define ODF_SPAWN_NO_NEW_PRIVS      0x2000ull      /* no_new_privs: exec grants nothing, whatever the file's mode */

#define ODF_SPAWN_DETACH            0x4000ull      /* the process is not the caller's child: nobody has to wait for
                                                      it, and no SIGCHLD tells of its end; its parent is init or the
                                                      nearest subreaper; if that is the caller, it has to wait for
                                                      the process. Nothing else: the session, process group,
                                                      terminal and streams are the caller's unless SETSID and `fds`
                                                      say otherwise. (Made by FORK, a go-between is a child for a
                                                      moment, whose SIGCHLD may be seen.) Not with
                                                      parent_death_signal; ENOTSUP after unshare(CLONE_NEWPID) */

#define ODF_SPAWN_CWD_FD            0x10000ull     /* the working directory is the one open at `cwd_fd` */
#define ODF_SPAWN_EXEC_FD           0x20000ull     /* the program is the file open at `exec_fd` */
#define ODF_SPAWN_CGROUP_FD         0x40000ull     /* the cgroup is the one whose directory is open at `cgroup_fd` */
#define ODF_SPAWN_TTY_FD            0x80000ull     /* the terminal of FOREGROUND is the one open at `tty_fd` */
#define ODF_SPAWN_KEEP_GROUPS       0x100000ull    /* with UID: the supplementary groups stay the caller's */
#define ODF_SPAWN_USER_GROUPS       0x200000ull    /* with UID: the supplementary groups are those that the user
                                                      `uid` has in the group database, with `gid`, or else the user's
                                                      own group, among them: as initgroups. Looked up by the caller
                                                      (getpwuid_r, getgrouplist) */
#define ODF_SPAWN_SIGDEFAULT        0x400000ull    /* the signals in `sigdefault` have their default disposition */
#define ODF_SPAWN_SEARCH_CHILD_PATH 0x800000ull    /* as SEARCH_PATH, in the PATH of the child's environment. Not
                                                      together */
#define ODF_SPAWN_IOPRIO            0x1000000ull   /* I/O priority `ioprio` */
#define ODF_SPAWN_OOM_SCORE_ADJ     0x2000000ull   /* oom_score_adj, -1000 to 1000: who is ended when memory is short */
#define ODF_SPAWN_AMBIENT           0x4000000ull   /* the ambient capabilities are those in `ambient`, across a
                                                      change of user too */
#define ODF_SPAWN_PIPE_STDIN        0x8000000ull   /* standard input is a pipe, whose other end is for the caller:
                                                      `pipes` */
#define ODF_SPAWN_PIPE_STDOUT       0x10000000ull
#define ODF_SPAWN_PIPE_STDERR       0x20000000ull
#define ODF_SPAWN_PIPES           (ODF_SPAWN_PIPE_STDIN | ODF_SPAWN_PIPE_STDOUT | ODF_SPAWN_PIPE_STDERR)
#define ODF_SPAWN_STDERR_TO_STDOUT  0x40000000ull  /* standard error goes where standard output does. Not with
                                                      PIPE_STDERR */
#define ODF_SPAWN_NO_WAIT           0x80000000ull  /* with `pool` (else EINVAL): the call returns when there is a
                                                      process, and does not wait for exec; see odf_pool_spawn */

/* Flags of clone3 since Linux 7.1. By POOL and VFORK; where the kernel lacks them, ENOTSUP with step REQUEST (CLONE
 * where it could not be asked before) and ODF_REASON_CLONE_FLAG. Since 0.2.0. */
#define ODF_SPAWN_AUTOREAP          0x100000000ull /* nobody has to wait for the process, and nobody can: it is no
                                                      zombie at its end, whoever its parent is by then, and no
                                                      SIGCHLD tells of it. Until then it is the caller's child.
                                                      `pidfd` says when it has ended, and PIDFD_GET_INFO how */
#define ODF_SPAWN_KILL_WITH_PIDFD   0x200000000ull /* AUTOREAP; and when the last copy of `pidfd` is closed, in this
                                                      process or in one that has inherited it, or they have ended,
                                                      SIGKILL ends the process. With `pidfd`, not with DETACH (else
                                                      EINVAL). With BORN_NO_NEW_PRIVS, or CAP_SYS_ADMIN (else EPERM,
                                                      with step CLONE) */
#define ODF_SPAWN_BORN_NO_NEW_PRIVS 0x400000000ull /* as NO_NEW_PRIVS, from the process's first moment on */

/* A set of steps whose failure does not matter: the process starts all the same and the report's `forgiven` says so.
 * Allowed: NICE, SCHED, IOPRIO, AFFINITY, RLIMIT, CGROUP, OOM_SCORE. */
#define ODF_FORGIVE(step) (1ull << (step))

/* A pool, and a program that is on its way: see below. Since 0.2.0. */
typedef struct odf_pool odf_pool;
typedef struct odf_launch odf_launch;

typedef struct odf_spawn_options {
	size_t size;
	uint64_t flags;             /* ODF_SPAWN_* */
	uint64_t forgive;           /* ODF_FORGIVE() set */
	unsigned allow;             /* ODF_ALLOW() set of POOL, POSIX_SPAWN, VFORK and FORK; 0 for any */
	int cwd_fd;                 /* working directory by descriptor (ODF_SPAWN_CWD_FD, or above 0); with `cwd`:
	                               what that is relative to */
	const char *cwd;            /* working directory; NULL: the caller's */
	int exec_fd;                /* execute the file open at this descriptor of the caller's instead of `file`
	                               (ODF_SPAWN_EXEC_FD, or above 0). A script needs the descriptor open across
	                               exec: name it in `fds` with ODF_FD_KEEP */
	int cgroup_fd;              /* start in this cgroup, a descriptor of its directory (ODF_SPAWN_CGROUP_FD, or
	                               above 0) */
	const odf_fd_action *fds;
	size_t fd_count;
	int *pidfd;                 /* if not NULL: receives a descriptor of the child (Linux 5.2; by fork 5.3),
	                               close-on-exec, the caller's to close; -1 on failure */
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
	const cpu_set_t *affinity;  /* NULL: as the caller's */
	size_t affinity_size;       /* bytes, as for sched_setaffinity */
	int sched_policy;
	struct sched_param sched_param;
	int parent_death_signal;    /* sent to the child when the *thread* that called odf_spawn ends; 0: none. See
	                               prctl(2) */
	const struct sock_fprog *seccomp; /* filter installed last; it must allow execve (execveat with
	                               exec_fd; nanosleep with busy_retry_ms). Needs NO_NEW_PRIVS or privilege */
	int (*pre_exec)(void *arg); /* runs in the child before exec; 0, or an errno value that fails the spawn. Forces
	                               FORK */
	void *pre_exec_arg;
	unsigned busy_retry_ms;     /* how long to try again while the program's file is open for writing (ETXTBSY), in
	                               milliseconds of waiting; 0: not at all. The caller is held meanwhile */
	int tty_fd;                 /* the terminal of FOREGROUND, a descriptor of the caller's (ODF_SPAWN_TTY_FD, or
	                               above 0) */
	sigset_t sigdefault;
	const char *const *env_edits; /* changes of the environment: "NAME=VALUE" sets, "NAME" takes away; of the
	                                 same name the last counts */
	size_t env_edit_count;
	const char *root;           /* root directory (chroot), before cwd; without cwd and cwd_fd the working
	                               directory is it too. NULL: the caller's */
	const odf_namespace *namespaces; /* to be joined in this order (setns) */
	size_t namespace_count;
	const struct sched_attr *sched_attr; /* scheduling as for sched_setattr(2); its own `size` says how much. Not
	                                        with SCHED. NULL: as the caller's */
	uint64_t ambient;           /* a bit, 1ull << CAP_*, for each capability */
	int *pipes;                 /* int[3]: receives the caller's ends of the pipes, close-on-exec, the caller's
	                               to close; -1 where there is none and on failure. Required with PIPE_* */
	int ioprio;                 /* ODF_IOPRIO() */
	int oom_score_adj;
	unsigned reserved[2];
	odf_pool *pool;             /* the pool to spawn by: odf_pool_create. NULL: none */
	odf_launch **launch;        /* with NO_WAIT, if not NULL: receives what tells whether the program was executed,
	                               the caller's to free; NULL on failure */
} odf_spawn_options;

#define ODF_SPAWN_OPTIONS_INIT ODF_SIZED_(odf_spawn_options)

/* Starts a program. `file` is its path (or name, with ODF_SPAWN_SEARCH_PATH), `argv` its arguments, at least argv[0];
 * `envp` its environment, NULL for the caller's. *pid (pid may be NULL) receives the child, which the caller must wait
 * for. `options` and `report` may be NULL.
 *
 * The child is set up in the order of odf_step, so relative paths (program, opened files) are relative to the new
 * directory, and files are opened with the caller's ids. All or nothing: if a step fails no process is left and no
 * descriptor is open that was not open before; files that an ODF_FD_OPEN created stay.
 *
 * Result: 0 or an errno value; the report has the step. With step REQUEST: EINVAL (unknown flag or bit, a combination
 * that excludes itself, a descriptor number below 0, a number that is a target twice, NULL where it is not allowed, an
 * id of -1), E2BIG (a newer structure), ENOTSUP (no allowed strategy can do it), ENOMEM. Before a process is made:
 * GROUPS: ENOENT (no such user), ENOSYS (a static program); PIPES: EMFILE, ENFILE. With CLONE: EAGAIN, ENOMEM. ECHILD
 * at any step: the child died there; wait_status tells of what. Otherwise what the system call of the step gives: FD:
 * EBADF (not open, or a number beyond the limit), EMFILE (no number left) or open's; CGROUP: EBUSY (it is frozen: the
 * child would not come to exec, and the caller be held, until it is thawed); EXEC: ENOENT, EACCES (no execute
 * permission), ENOEXEC (not a program: no shell is tried), ETXTBSY, E2BIG...
 *
 * Not async-signal-safe. Safe in threads; the other threads go on running. Not a cancellation point. The caller is held
 * until the program is executed: by VFORK with all signals but SIGKILL blocked, by FORK open for them.
 *
 * A child made by VFORK that changes its ids does so while it shares the caller's memory, for the moment before
 * exec. The kernel then withdraws the memory's dumpable mark, which keeps the new user from tracing it (unless
 * fs.suid_dumpable is 1); the caller's mark is put back when no such child is left. Within that moment the caller is
 * not dumpable either, and a child forked by another thread stays so. To avoid both, allow FORK only. Since 0.1.0. */
int odf_spawn(pid_t *pid, const char *file, char *const argv[], char *const envp[], const odf_spawn_options *options,
	      odf_report *report);

/* posix_spawn and posix_spawnp: libc's, counted in ODFORK_STATS. Since 0.1.0. */
int odf_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		    const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);
int odf_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);

/* ---- Processes --------------------------------------------------------------------------------------------------- */

/* A process that was started, to be waited for with a timeout, signalled without a doubt about who gets the signal,
 * and spoken to over pipes. By a pidfd where the kernel has them (Linux 5.3), else by its id. All functions may be
 * called by several threads at once, except that odf_process_communicate, and odf_process_close_stream on the same
 * stream, are for one at a time, and odf_process_close is the last. None is async-signal-safe. Since 0.2.0. */
typedef struct odf_process odf_process;

/* odf_spawn, with a handle: *process, the caller's to give back with odf_process_close; NULL on failure. The streams
 * that `options` makes pipes (ODF_SPAWN_PIPE_*) are the handle's. 0, or an errno value: those of odf_spawn; EINVAL
 * with step REQUEST also for `process` NULL, `pidfd` or `pipes` in the options, and ODF_SPAWN_DETACH, _AUTOREAP and
 * _KILL_WITH_PIDFD. Since 0.2.0. */
int odf_process_spawn(odf_process **process, const char *file, char *const argv[], char *const envp[],
		      const odf_spawn_options *options,
		      odf_report *report);

/* Its id. Since 0.2.0. */
pid_t odf_process_id(const odf_process *process);

/* The caller's end of the pipe that is its standard input (0), output (1) or error (2); -1: none. The handle's: not
 * to be closed but by odf_process_close_stream, after which a program that reads its input sees the end of it.
 * Close-on-exec. The latter gives 0, or EINVAL where there is none. Since 0.2.0. */
int odf_process_stream(const odf_process *process, int stream);
int odf_process_close_stream(odf_process *process, int stream);

/* Waits until it has ended, for at most `timeout_ms` milliseconds; 0: does not wait, -1: without an end. *status
 * (may be NULL) receives the wait status, as from waitpid, now and each time again. Signals do not end the wait. 0;
 * ETIMEDOUT: it runs; ECHILD: it has ended, and somebody else has taken the status (another wait, or SIGCHLD is
 * ignored); EINVAL (NULL, a timeout below -1). Since 0.2.0. */
int odf_process_wait(odf_process *process, int timeout_ms, int *status);

/* Sends it a signal. 0; ESRCH: it has ended and was waited for, so that nobody else gets the signal; EINVAL, EPERM.
 * Since 0.2.0. */
int odf_process_kill(odf_process *process, int signal);

/* What to tell a process and what it said. Since 0.2.0. */
typedef struct odf_io {
	size_t size;
	const void *input;     /* for its standard input */
	size_t input_length;   /* bytes */
	size_t limit;          /* bytes that are collected of each stream at most; 0: 64 MiB */
	int timeout_ms;        /* milliseconds; 0: no end */
	int wait_status;       /* received, by odf_run: as from waitpid */
	size_t input_done;     /* received: bytes of the input that were taken */
	char *output;          /* received: what it wrote to its standard output, with a NUL behind it; malloc's, the
	                          caller's to free. NULL: no pipe */
	size_t output_length;  /* received: bytes, without that NUL */
	char *error_output;    /* the same of its standard error */
	size_t error_length;
} odf_io;

#define ODF_IO_INIT ODF_SIZED_(odf_io)

/* Feeds and collects at the same time, whatever the order in which the process reads and writes, until all its
 * output streams that are pipes are at their end and the input is fed; then closes standard input. (Whoever else has
 * the other ends, as a process that it left behind, holds the end up.) No SIGPIPE. 0, also if it did not read all
 * the input; ETIMEDOUT; EFBIG: a stream has more than `limit`; ENOMEM; EINVAL, E2BIG. In each case `io` has what
 * there was so far, and the streams can be read on. Since 0.2.0. */
int odf_process_communicate(odf_process *process, odf_io *io);

/* Closes the streams and frees the handle. The process runs on, and is to be waited for by its id, if it was not. 0,
 * or EINVAL (NULL). Since 0.2.0. */
int odf_process_close(odf_process *process);

/* Runs a program to its end: odf_process_spawn, odf_process_communicate, odf_process_wait. `options` (may be NULL)
 * may say which streams are pipes; if it makes none, standard output and error are, and standard input is one if
 * `io` has input, else /dev/null (unless `fds` names them). `io` may be NULL: nothing is collected, and no stream is
 * changed. A program that takes longer than the timeout, or writes more than the limit, is ended by SIGKILL, with
 * its process group if ODF_SPAWN_SETSID or a new one of ODF_SPAWN_SETPGROUP makes it one of its own. 0 if it ran and
 * ended, however: `wait_status` says; the errors of odf_spawn, for which the report has the step; ETIMEDOUT, EFBIG,
 * ENOMEM: it was ended for it; ECHILD: somebody else has taken its status. Since 0.2.0. */
int odf_run(const char *file, char *const argv[], char *const envp[], const odf_spawn_options *options, odf_io *io,
	    odf_report *report);

/* ---- Pool -------------------------------------------------------------------------------------------------------- */

/* For programs that start many programs, or run many functions in processes of their own: odf_pool. */

#define ODF_POOL_NO_TASKS 0x0001ull /* for odf_pool_spawn only: no copy of the program is made for tasks */

typedef struct odf_pool_options {
	size_t size;
	uint64_t flags; /* ODF_POOL_* */
	/* Of worker tasks, see odf_pool_submit: */
	unsigned workers_min; /* so many are there from the first task on, idle or not; at most 256 */
	unsigned workers_max; /* at most 256; 0: the number of processors, or workers_min if that is more */
	unsigned idle_ms;     /* how long a worker above workers_min may have nothing to do; 0: 10 seconds */
	unsigned queue;       /* tasks that were submitted and are not freed, at most 1048576; 0: 16384 */
} odf_pool_options;

#define ODF_POOL_OPTIONS_INIT ODF_SIZED_(odf_pool_options)

/* Makes a pool; `options` may be NULL. NULL with errno: EINVAL (size, unknown flag), E2BIG (a newer structure), ENOMEM,
 * EAGAIN, EMFILE, ENFILE; ENOTSUP (after unshare(CLONE_NEWPID)). Not async-signal-safe. Since 0.2.0. */
odf_pool *odf_pool_create(const odf_pool_options *options);

/* Ends it, and all processes that it made for tasks. Programs that it started go on. The last call on a pool. 0, or
 * EINVAL (NULL), EPERM (the pool of the process that this one was forked by). Since 0.2.0. */
int odf_pool_destroy(odf_pool *pool);

/* odf_spawn with `pool` in the options: the same arguments, options, order of steps and errors, and the same process,
 * whose state is the caller's as of the call. The caller makes it himself, and need not be suspended until it executes
 * its program: with ODF_SPAWN_NO_WAIT the call returns as soon as the process is there, with all it needs copied.
 *
 * With ODF_SPAWN_NO_WAIT, 0 means that there is a process, the caller's child, to be waited for. If a later step fails
 * it ends with status 127, as `pidfd` and waitpid tell; which step it was tells `launch`. Should the call have held the
 * caller all the same, as what is asked for needs that (UID, GID, namespaces of users or time, OOM_SCORE_ADJ,
 * FOREGROUND with `seccomp`, or another strategy than POOL), its result is final. Bad pointers among the arguments are
 * not EFAULT, as they are read here.
 *
 * Also EINVAL (`pool` NULL, NO_WAIT without a pool, `launch` without NO_WAIT) and EPERM (the pool of the process that
 * this one was forked by), with step REQUEST. Thread-safe, also with the same pool. Since 0.2.0. */
int odf_pool_spawn(odf_pool *pool, pid_t *pid, const char *file, char *const argv[], char *const envp[],
		   const odf_spawn_options *options, odf_report *report);

/* Waits until it is known whether the program was executed, for at most `timeout_ms` milliseconds; 0: does not wait,
 * -1: without an end. 0: it was; ETIMEDOUT: not known yet; EINVAL (NULL, a timeout below -1); EPERM (in a child of the
 * process that started it); or the error with which it failed, with the step in the report (may be NULL): ECHILD, if
 * the process died on the way. The process is to be waited for in each case. May be called again. Since 0.2.0. */
int odf_launch_wait(odf_launch *launch, int timeout_ms, odf_report *report);

/* Frees it, whatever has become of the process. NULL is allowed. Since 0.2.0. */
void odf_launch_free(odf_launch *launch);

/* ---- Worker tasks ------------------------------------------------------------------------------------------------ */

/* Functions of the program run in worker processes, which take one task after the other. A worker is a copy of the
 * program as it was when the pool was made, whenever the worker itself is made, and keeps what earlier tasks changed in
 * it; see odf_pool_submit(3) for what a task finds. Since 0.2.0. */

/* What a task writes to. */
typedef struct odf_output odf_output;

/* Runs in a worker. `input` is not to be written to, aligned to 16 bytes, and never NULL. The result is for the caller
 * (odf_task_info). */
typedef int (*odf_task_function)(const void *input, size_t length, odf_output *output);

/* Appends to the task's output. 0 or an errno value: ENOMEM, EFBIG, EINVAL (NULL). For task functions. */
int odf_output_write(odf_output *output, const void *data, size_t length);

/* Appends `length` bytes, which are the caller's to fill before the next call on the output. NULL with errno. */
void *odf_output_room(odf_output *output, size_t length);

/* A task that was submitted. Each is freed by odf_task_free. */
typedef struct odf_task odf_task;

#define ODF_TASK_FRESH 0x0001ull /* in a worker that has run nothing before and runs nothing after it */
#define ODF_TASK_FORK  0x0002ull /* in a fork of the program as it is now, made for this task. The caller is held for
                                    the fork; memory in regions makes that cheap */

typedef struct odf_task_options {
	size_t size;
	uint64_t flags;   /* ODF_TASK_* */
	unsigned time_ms; /* from when it begins; then its worker is killed and the answer is ETIME; 0: no limit */
	unsigned cpu_ms;  /* the same, of the worker's processor time */
	size_t memory;    /* bytes of address space that it can take beyond its worker's (RLIMIT_AS); 0: no limit */
} odf_task_options;

#define ODF_TASK_OPTIONS_INIT ODF_SIZED_(odf_task_options)

/* Has `function` called in a worker, with a copy of the input. *task receives its handle, NULL on failure. Returns at
 * once: 0, or EINVAL (NULL; unknown flags; size), E2BIG (a newer structure), EFAULT (the function is not in code that
 * the template has: of a library that was loaded later, or no code at all), EAGAIN (so many tasks as the pool's `queue`
 * says are there; or no process can be made), ENOMEM, EFBIG (input beyond what RLIMIT_FSIZE leaves), EMFILE, ENFILE,
 * ENOTSUP (ODF_POOL_NO_TASKS), EPERM (the pool of the process that this one was forked by). Not async-signal-safe.
 * Since 0.2.0. */
int odf_pool_submit(odf_pool *pool, odf_task_function function, const void *input, size_t length, odf_task **task);

/* With options, which may be NULL. Since 0.2.0. */
int odf_pool_submit_with(odf_pool *pool, odf_task_function function, const void *input, size_t length,
			 const odf_task_options *options, odf_task **task);

/* Waits until the task has its answer, for at most `timeout_ms` (-1: without an end; 0: not at all). 0: the function
 * has returned, and *output and *length (each may be NULL) receive its output, which is there until the task is freed.
 * Otherwise *output is NULL, and the result is ETIMEDOUT (no answer yet), or the answer, now and from now on: ECHILD
 * (the worker ended; odf_task_info has the wait status), ETIME (a limit), ECANCELED (odf_task_cancel,
 * odf_pool_destroy), ENOMEM (the worker could not map the input), EAGAIN, ENOMEM (no worker could be made). ENOMEM,
 * EIO: the output cannot be had. EPERM: in a child of the process that submitted it. Any thread may wait, several too.
 * Since 0.2.0. */
int odf_task_wait(odf_task *task, void **output, size_t *length, int timeout_ms);

/* Ends it: one that has not begun is not run, of one that runs the worker is killed. 0: its answer is, or is about to
 * be, ECANCELED. EALREADY: it has its answer. EINVAL, EPERM. Since 0.2.0. */
int odf_task_cancel(odf_task *task);

/* Frees the handle and the output; NULL is allowed. At any time: a task without an answer is cancelled first. Not while
 * another thread uses the handle. Since 0.2.0. */
void odf_task_free(odf_task *task);

typedef enum odf_task_state { ODF_TASK_WAITS = 0, ODF_TASK_RUNS, ODF_TASK_ENDED } odf_task_state;

typedef struct odf_task_info {
	size_t size;
	odf_task_state state;
	int error;       /* ENDED: what odf_task_wait returns */
	int result;      /* ENDED with 0: what the function returned */
	int wait_status; /* ENDED with ECHILD or ETIME: of the worker, as from waitpid; 0: not known, as who reaps them
	                    was killed as well */
	pid_t worker;    /* the process that runs or ran it; 0: none yet, or not known */
	uint64_t run_ns; /* how long it ran */
} odf_task_info;

#define ODF_TASK_INFO_INIT ODF_SIZED_(odf_task_info)

/* 0, or EINVAL, E2BIG (`size`), EPERM. Since 0.2.0. */
int odf_task_info_get(odf_task *task, odf_task_info *info);

/* A descriptor for poll() and the like, readable when tasks have answers that nobody has seen: then call
 * odf_pool_finished until it says that there is no more. The pool's own, close-on-exec; not to be read. -1 with errno:
 * EINVAL, EPERM, ENOTSUP, ENOMEM, EMFILE, ENFILE. Since 0.2.0. */
int odf_pool_descriptor(odf_pool *pool);

/* A task that has its answer and was not given out by this function, nor its answer by odf_task_wait, before. 0;
 * ETIMEDOUT (none within `timeout_ms`, as above); ESRCH (no task is under way); EINVAL, EPERM, ENOTSUP, ENOMEM, EMFILE,
 * ENFILE. Since 0.2.0. */
int odf_pool_finished(odf_pool *pool, odf_task **task, int timeout_ms);

typedef struct odf_pool_info {
	size_t size;
	unsigned workers; /* there are now */
	unsigned idle;    /* of them */
	uint64_t started; /* workers, of the present manager */
	uint64_t lost;    /* workers that died: killed, by a limit, by themselves */
	pid_t manager;    /* the process that makes and reaps them; 0: none yet */
	unsigned reserved;
} odf_pool_info;

#define ODF_POOL_INFO_INIT ODF_SIZED_(odf_pool_info)

/* 0, or EINVAL, E2BIG (`size`), EPERM. Since 0.2.0. */
int odf_pool_info_get(odf_pool *pool, odf_pool_info *info);

/* ---- Regions ----------------------------------------------------------------------------------------------------- */

/* A snapshot region: memory that fork() does not have to copy page tables for. A program keeps in it what makes it big.
 * Every child made through libc's fork, _Fork, clone or syscall sees the region as it was at that moment, as ordinary
 * private memory, and what either process writes afterwards the other does not see: fork's own semantics, and no call
 * is needed around the fork.
 *
 * Between forks the region is LIVE, a shared view of a memfd, and costs nothing. A fork FREEZES it: the page tables are
 * moved aside as a whole and parent and child continue on private views of the file, which nobody writes as long as a
 * descendant can see it. When none can, the region is SETTLED: the parent's private pages are merged into the file and
 * the page tables moved back. A process of the library's own that shares the program's memory (the keeper) does that
 * where userfaultfd may serve kernel-mode faults; see odf_region_settle for where it may not.
 *
 * The program must not change the mapping itself: no munmap, mremap, mprotect, madvise or mlock on a region's memory.
 * What a region cannot hold: thread stacks; process-shared, robust and priority-inheriting mutexes, and words that are
 * given to FUTEX_WAKE_OP; pages that are pinned (O_DIRECT in flight, io_uring buffers, RDMA, process_vm_writev from
 * outside) while the region is not LIVE: a program that does such things makes it ODF_REGION_MANUAL, and neither forks
 * nor settles with any in flight.
 *
 * Thread safety: all functions may be called by any thread, except that odf_region_destroy must be the last call on a
 * region. None is async-signal-safe; forking with regions is, as far as libc's fork is. */
typedef struct odf_region odf_region;

#define ODF_REGION_MANUAL 0x0001u /* settle only when odf_region_settle is called */
#define ODF_REGION_HUGE   0x0002u /* while the region is LIVE and no fork is near, gather what is all there into pages
                                     of 2 MiB (MADV_COLLAPSE, Linux 6.1; elsewhere nothing happens): a child's reads
                                     then cost hundreds of times fewer faults. Each 2 MiB is copied once for it, which
                                     threads that touch them meanwhile wait for */

/* A region of `capacity` bytes (rounded up to whole pages; at most 32 TiB). It takes three to five times its capacity
 * of address space, see odf_region_create(3); memory is committed when it is touched, and reads as zeros. NULL with
 * errno: EINVAL (capacity 0, unknown flag); ENOTSUP (not on this machine:
 * odf_capabilities.strategy[ODF_STRATEGY_REGION] says why); ENOMEM (address space, RLIMIT_AS, vm.max_map_count);
 * EMFILE, ENFILE (descriptors); EFBIG (RLIMIT_FSIZE); EPERM, EAGAIN and what else a sandbox answers (the keeper could
 * not be started); EBUSY (it is to be started by a thread that is not nicer than the main one, or in another cgroup).
 * The result is freed by odf_region_destroy. Since 0.1.0. */
odf_region *odf_region_create(size_t capacity, unsigned flags);

/* The region's first byte, page-aligned, the same for the region's whole life and in every child. Async-signal-safe.
 * Since 0.1.0. */
void *odf_region_base(const odf_region *region);

/* Its size in bytes. Async-signal-safe. Since 0.1.0. */
size_t odf_region_capacity(const odf_region *region);

/* Gives memory back: the pages from `address` for `length` bytes (rounded up to whole pages) read as zeros from now on,
 * in this process only. The memory is free at once in a LIVE region; in a FROZEN one as soon as the region settles. 0
 * or an errno value: EINVAL (`address` not page-aligned, or not all inside the region), ENXIO (the memory is not there,
 * ODF_REGION_ABSENT). Since 0.1.0. */
int odf_region_discard(odf_region *region, void *address, size_t length);

/* Settles now, and returns when the region is LIVE. By calling it the program says that no other thread, no system call
 * in flight and no process that shares its memory touches the region meanwhile; where the keeper can use userfaultfd
 * they may all the same. Needed only where the keeper cannot settle by itself (odf_region_info.settling). 0, also if
 * there was nothing to do, as in a child; EBUSY: a descendant maps the snapshot; ENOMEM, EMFILE; EAGAIN: a fork came
 * between, try again; ENOTSUP: pages of the process cannot be told apart here (no /proc). On an error the region stays
 * FROZEN, which is always correct. Since 0.1.0. */
int odf_region_settle(odf_region *region);

/* Where a region is in its life. */
typedef enum odf_region_state {
	ODF_REGION_LIVE = 0,  /* the next fork freezes it */
	ODF_REGION_FROZEN,    /* forked, not settled yet: forks copy the page tables of what was touched since */
	ODF_REGION_SETTLING,  /* partly settled */
	ODF_REGION_INHERITED, /* this process is a child: ordinary private memory */
	ODF_REGION_ABSENT,    /* this process was made past the library (an inline system call) and has not got the
	                         memory: do not touch it */
	ODF_REGION_GIVEN_UP   /* it could not go on: ordinary private memory of this process, as if it had been made by
	                         mmap; and SETTLES_NEVER */
} odf_region_state;

/* Who settles. */
typedef enum odf_region_settling {
	ODF_REGION_SETTLES_ALWAYS = 0, /* the keeper, while the program runs */
	ODF_REGION_SETTLES_AT_FORK,    /* a fork, when the process has one thread and settling is cheaper than going on;
	                                  else odf_region_settle */
	ODF_REGION_SETTLES_BY_CALL,    /* odf_region_settle only: ODF_REGION_MANUAL */
	ODF_REGION_SETTLES_NEVER       /* no /proc/self/pagemap here, or a doubt about descendants: given up after the
	                                  next fork */
} odf_region_settling;

typedef struct odf_region_info {
	size_t size;
	odf_region_state state;
	odf_region_settling settling;
	size_t capacity;            /* bytes */
	size_t live_bytes;          /* the part of it that is LIVE */
	size_t resident_bytes;      /* memory (or swap) of the region's file; 0 in a child, to whom it does not
	                               belong */
	size_t private_bytes;       /* this process's own copies on top of that */
	uint64_t freezes;           /* forks that found something LIVE */
	uint64_t settles;           /* times the whole region became LIVE again */
	uint64_t interrupted;       /* settles that a fork cut short; the next goes on from there */
	uint64_t steps;             /* pieces in which that was done */
	uint64_t merged_pages;      /* private pages written back to the file */
	uint64_t last_pause_ns;     /* how long the last step kept other threads from memory, or the caller of a settle
	                               or fork waiting */
	uint64_t longest_pause_ns;
	uint64_t last_freeze_ns;    /* what freezing added to the last fork that froze */
} odf_region_info;

#define ODF_REGION_INFO_INIT ODF_SIZED_(odf_region_info)

/* Fills in what the region is doing. 0 or an errno value: EINVAL, E2BIG (`size`). Since 0.1.0. */
int odf_region_info_get(const odf_region *region, odf_region_info *info);

/* Unmaps the region and frees it. Descendants keep what they see. 0 or EINVAL (NULL). Since 0.1.0. */
int odf_region_destroy(odf_region *region);

/* ---- Heap -------------------------------------------------------------------------------------------------------- */

/* In a program that is preloaded or linked with libodfork.so, its memory can be a region's without its knowledge:
 * anonymous private mappings, and what malloc has. Preloaded, it begins when the process has grown past a threshold;
 * linked, with odf_heap_enable or ODFORK_HEAP=on. */
typedef enum odf_heap_state { ODF_HEAP_OFF = 0, ODF_HEAP_ASLEEP, ODF_HEAP_AWAKE } odf_heap_state;

/* Whose malloc the program has. Since 0.1.0. */
typedef enum odf_heap_malloc {
	ODF_HEAP_MALLOC_OTHER = 0, /* the program has an allocator of its own, whose mappings are what counts */
	ODF_HEAP_MALLOC_LIBC,      /* libc's, whose memory is outside: not awake, or what it does cannot be seen here */
	ODF_HEAP_MALLOC_LARGE,     /* never returned since 0.2.0 */
	ODF_HEAP_MALLOC_MIMALLOC,  /* never returned since 0.2.0 */
	ODF_HEAP_MALLOC_IN_PLACE   /* libc's, whose memory takes part where it lies */
} odf_heap_malloc;

typedef struct odf_heap_info {
	size_t size;
	odf_heap_state state;
	odf_reason reason;        /* why it is not awake; ODF_REASON_TOO_SMALL: asleep, has not grown past the
	                             threshold */
	odf_heap_malloc malloc_door;
	size_t threshold;         /* bytes of private memory from which on it wakes */
	size_t capacity;          /* bytes of address space of each region; 0: none */
	size_t placed_bytes;      /* address space that has ever come to lie in regions */
	size_t inside_bytes;      /* memory (or swap) of the regions */
	size_t outside_bytes;     /* private memory of the process: what a fork copies page tables for */
	uint64_t spills;          /* requests that did not fit */
} odf_heap_info;

#define ODF_HEAP_INFO_INIT ODF_SIZED_(odf_heap_info)

/* Wakes the heap now, with regions of up to `capacity` bytes of address space each (rounded up to GiB; 0: chosen,
 * twice the machine's memory). 0 or an errno value: ENOTSUP (odf_heap_info_get has the reason), ENOMEM, EINVAL (more
 * than a TiB), EBUSY (not by this thread, which has a lower priority than the main one or is in another cgroup). 0 as
 * well if it is awake already. Thread-safe; not async-signal-safe. Since 0.1.0. */
int odf_heap_enable(size_t capacity);

/* Fills in what the heap is doing. 0, or EINVAL or E2BIG (`size`). Thread-safe; not async-signal-safe. Since 0.1.0. */
int odf_heap_info_get(odf_heap_info *info);

/* ---- Capabilities ------------------------------------------------------------------------------------------------ */

/* An answer that may not have been asked for yet. Since 0.1.0. */
typedef enum odf_answer { ODF_ANSWER_NOT_ASKED = 0, ODF_ANSWER_YES, ODF_ANSWER_NO } odf_answer;

/* What can be asked of the running kernel, sandbox and libc. Since 0.1.0. */
typedef enum odf_probe {
	ODF_PROBE_USE_ODF = 0,    /* /proc/self/use_odf opens for writing: an on-demand-fork kernel */
	ODF_PROBE_CLONE3,         /* clone3 (Linux 5.3) */
	ODF_PROBE_CLONE_VM,       /* a child of clone(CLONE_VM | CLONE_VFORK) shares memory and holds its parent until
	                             exec */
	ODF_PROBE_PIDFD_OPEN,     /* pidfd_open (5.3) */
	ODF_PROBE_CLOSE_RANGE,    /* close_range (5.9) */
	ODF_PROBE_EXECVEAT,       /* execveat (3.19) */
	ODF_PROBE_PROC,           /* /proc/self/stat is readable */
	ODF_PROBE_UFFD_KERNEL,    /* userfaultfd serves kernel-mode faults for this process */
	ODF_PROBE_UFFD_DEVICE,    /* /dev/userfaultfd makes one; by name, or handed in (ODFORK_UFFD_FD) */
	ODF_PROBE_REMAP,          /* mremap(MREMAP_DONTUNMAP) moves a shared mapping (5.13) */
	ODF_PROBE_MEMFD,          /* memfd_create with seals (3.17) */
	ODF_PROBE_PAGEMAP,        /* /proc/self/pagemap is readable */
	ODF_PROBE_PAGEMAP_SCAN,   /* PAGEMAP_SCAN (6.7) */
	ODF_PROBE_UFFD_MINOR,     /* userfaultfd for kernel-mode faults reports pages of a file that are there (5.14) */
	ODF_PROBE_ASYNC_FORK,     /* memory.async_fork of the process's own memory cgroup opens for writing:
	                             Async-fork */
	ODF_PROBE_ASYNC_FORK_PRCTL, /* kernel.async_fork_enabled is among the sysctls: Async-fork by prctl */
	ODF_PROBE_AUTOREAP,         /* clone3 with CLONE_AUTOREAP: a process that nobody has to wait for (7.1) */
	ODF_PROBE_CLONE_NNP,        /* clone3 with CLONE_NNP: a process that is born with no_new_privs (7.1) */
	ODF_PROBE_AUTOKILL,         /* clone3 with CLONE_PIDFD_AUTOKILL and these two: one that ends with its
	                               descriptor (7.1) */
	ODF_PROBE_COUNT
} odf_probe;

/* How the kernel offers on-demand fork. The first two behind /proc/self/use_odf are told apart by trying it out only.
 * Since 0.1.0. */
typedef enum odf_kernel_interface {
	ODF_KERNEL_INTERFACE_NONE = 0,      /* not at all */
	ODF_KERNEL_INTERFACE_USE_ODF,       /* /proc/self/use_odf, not tried out: one of the next two */
	ODF_KERNEL_INTERFACE_USE_ODF_HELD,  /* holds until 0 is written (published for Linux 5.6.19) */
	ODF_KERNEL_INTERFACE_USE_ODF_ARMED, /* is armed for the next clone, and on for good from then on (published for
	                                       6.0.6) */
	ODF_KERNEL_INTERFACE_ASYNC_FORK,    /* memory.async_fork of the process's own memory cgroup (Alibaba Cloud
	                                       Linux) */
	ODF_KERNEL_INTERFACE_ASYNC_FORK_MODULE, /* the same, without effect unless the module async-fork is loaded
	                                           (OpenCloudOS, TencentOS) */
	ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL,  /* kernel.async_fork_enabled: 1: by prctl, of the process; 2: always
	                                           (ByteDance velinux) */
	ODF_KERNEL_INTERFACE_COUNT
} odf_kernel_interface;

typedef struct odf_capabilities {
	size_t size;
	odf_reason strategy[ODF_STRATEGY_ROOM]; /* by strategy. ODF_REASON_NONE: available; else why not */
	odf_kernel_interface kernel_interface;
	odf_answer uffd_kernel_faults; /* userfaultfd serves kernel-mode faults: ODF_PROBE_UFFD_KERNEL or
	                                  ODF_PROBE_UFFD_DEVICE */
	size_t page_size;              /* bytes */
	char kernel_release[65];       /* as uname gives it; for people, nothing is decided by it */
	char reserved[7];
} odf_capabilities;

#define ODF_CAPABILITIES_INIT ODF_SIZED_(odf_capabilities)

/* Fills in what this machine offers. Each question is asked once per process and the answer kept, so calling this
 * early keeps the answers true for a process that puts itself into a seccomp sandbox later; which also asks nothing
 * there that the sandbox could punish. Returns 0, or EINVAL or E2BIG (`size`). Makes short-lived processes the first
 * time (ODF_PROBE_CLONE_VM, and odf_kernel_verify's where the kernel offers on-demand fork), which no wait() without
 * __WALL or __WCLONE sees and no SIGCHLD announces. Not async-signal-safe. Since 0.1.0. */
int odf_capabilities_get(odf_capabilities *capabilities);

/* The answer to one probe, asking if need be. *error (error may be NULL) receives, with ODF_ANSWER_NO, the errno
 * value that said so (EPROTO: the call succeeded and did not have its effect), otherwise 0. ODF_ANSWER_NOT_ASKED:
 * memory or descriptors were too short to ask; ask again; or the next process would be the first of a pid namespace,
 * which would end with a probe's. A probe that the library does not know is ODF_ANSWER_NO with EINVAL. Since 0.1.0. */
odf_answer odf_probe_get(odf_probe probe, int *error);

/* The short name of a probe and the question it asks. Static strings; async-signal-safe. Since 0.1.0. */
const char *odf_probe_name(odf_probe probe);
const char *odf_probe_text(odf_probe probe);

/* What a kernel's on-demand fork is tried for, each after such a fork. Since 0.1.0. */
typedef enum odf_kernel_check {
	ODF_KERNEL_CHECK_EFFECT = 0,        /* the child's page tables were not copied. Not asked of Async-fork, whose
	                                       child copies them */
	ODF_KERNEL_CHECK_WRITES,            /* what either process writes, the other does not see */
	ODF_KERNEL_CHECK_DISCARD,           /* a page given back by MADV_DONTNEED reads as zeros */
	ODF_KERNEL_CHECK_DISCARD_NEIGHBORS, /* and the pages around it, and the other process's, hold what they held */
	ODF_KERNEL_CHECK_UNMAP_NEIGHBORS,   /* so do those around a page that munmap took */
	ODF_KERNEL_CHECK_END,               /* the processes ended as they should, in time */
	ODF_KERNEL_CHECK_COUNT
} odf_kernel_check;
#define ODF_KERNEL_CHECK_ROOM 16

typedef struct odf_kernel_verdict {
	size_t size;
	odf_kernel_interface interface;
	odf_reason reason;                        /* ODF_REASON_NONE: offered and seen to keep data; else why it is not
	                                             taken by itself */
	odf_answer check[ODF_KERNEL_CHECK_ROOM];  /* by check. YES: passed; NO: failed; NOT_ASKED: not offered, or it
	                                             could not be tried out */
	size_t tables;                            /* bytes of page tables: of the process that forked, */
	size_t child_tables;                      /* and of its child when it began; 0 where /proc does not say */
	uint64_t elapsed_ns;                      /* how long trying it out took */
} odf_kernel_verdict;

#define ODF_KERNEL_VERDICT_INIT ODF_SIZED_(odf_kernel_verdict)

/* WARNING: kernels have been seen to crash after a fork on demand, and a crash takes the machine with it. Call this
 * where that can be borne.
 *
 * Where the kernel offers on-demand fork, tries out whether it keeps data, in processes of its own, unless this process
 * or the one that forked it has done so before. Of the interface that is armed by a write nothing is forked: the write
 * alone shows which it is, and what it loses is known. Takes about a millisecond, three MiB and what a fork takes (the
 * caller's page tables are copied), and not much more than two seconds if something hangs. The switch is thrown in
 * those processes only (of Async-fork, that of the memory cgroup for a moment). No wait() without __WALL or __WCLONE
 * sees them, no SIGCHLD announces them, no atfork handler runs.
 *
 * 0, also where none is offered or it fails; or an errno value: EINVAL (NULL, size); ENOMEM, EAGAIN, EMFILE, ENFILE,
 * ENOTSUP (pages of another size than 4096), EBUSY (forks of this process are on demand already, so that every process
 * that could try it is a part of it), EPERM and others: it could not be tried out, and the verdict is filled all the
 * same. Not async-signal-safe. Since 0.1.0. */
int odf_kernel_verify(odf_kernel_verdict *verdict);

/* Short stable names, and a sentence for people. Static strings; "unknown" for a value that the library does not
 * know. Async-signal-safe. Since 0.1.0. */
const char *odf_kernel_check_name(odf_kernel_check check);
const char *odf_kernel_check_text(odf_kernel_check check);
const char *odf_kernel_interface_name(odf_kernel_interface interface);

/* "0.2.0", of the library that is running. Since 0.1.0. */
const char *odf_version(void);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
