/* SPDX-License-Identifier: MIT
 *
 * RUNS BETWEEN CLONE AND EXEC, on memory that may be the parent's. Rules, and how they are kept:
 *   - no libc function, not even memcpy: raw system calls and code of this file only (a test holds the object file to
 * having no
 *     undefined symbol). libc would touch errno, locks, thread state, the loader, or signal the parent's threads.
 *   - no instrumentation: the build compiles this file without sanitizers, coverage and stack protector.
 *   - no allocation, and little stack.
 *   - writes go to the outcome and to the spare numbers of the plan, nowhere else.
 */
#include "child.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>

#include "../sys/syscall.h"
#include "../sys/text.h"

#ifdef SYS_setresuid32
#define SETRESUID SYS_setresuid32
#define SETRESGID SYS_setresgid32
#define SETGROUPS SYS_setgroups32
#else
#define SETRESUID SYS_setresuid
#define SETRESGID SYS_setresgid
#define SETGROUPS SYS_setgroups
#endif

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

enum { SIGNALS = 64, IOPRIO_PROCESS = 1 };

/* The kernel's, of its third version (2.6.26). */
struct capability_header {
	uint32_t version;
	int pid;
};
struct capability_data {
	uint32_t effective, permitted, inheritable;
};
#define CAPABILITY_VERSION 0x20080522u

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT           47
#define PR_CAP_AMBIENT_RAISE     2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

static void begin(const struct child_plan *plan, odf_step step, int index)
{
	plan->outcome->index = index;
	plan->outcome->step = (int)step;
}

/* True if the child may go on. */
static bool passed(const struct child_plan *plan, long result)
{
	uint64_t bit = ODF_FORGIVE((unsigned)plan->outcome->step);

	if (result >= 0)
		return true;
	if (plan->forgive & bit) {
		plan->outcome->forgiven |= bit;
		return true;
	}
	plan->outcome->error = (int)-result;
	return false;
}

static bool one_step(const struct child_plan *plan, odf_step step, long number, long a, long b, long c)
{
	begin(plan, step, -1);
	return passed(plan, sys_call3(number, a, b, c));
}

/* Once signals are unblocked for exec, a handler of the parent's would run here, on the parent's memory. So handled
 * signals become default; ignored ones stay ignored, as exec leaves them, unless they are to be reset. */
static bool reset_signals(const struct child_plan *plan)
{
	uint64_t reset_too = plan->flags & ODF_SPAWN_SIGDEFAULT ? plan->sigdefault : 0;

	if (plan->flags & ODF_SPAWN_RESET_SIGNALS)
		reset_too = ~0ull;
	if (plan->handlers_cleared && reset_too == 0)
		return true;
	begin(plan, ODF_STEP_SIGNALS, -1);
	for (int signal = 1; signal <= SIGNALS; signal++) {
		/* The kernel's structure: the handler first, then at most 56 bytes. */
		unsigned long now[8], reset[8];
		long result;

		for (unsigned i = 0; i < 8; i++)
			*(volatile unsigned long *)&reset[i] = 0; /* volatile: else the compiler calls memset */
		if (signal == SIGKILL || signal == SIGSTOP)
			continue;
		result = sys_call4(SYS_rt_sigaction, signal, NULL, now, sizeof(uint64_t));
		if (result >= 0 && now[0] != (unsigned long)SIG_DFL &&
		    ((reset_too >> (signal - 1) & 1) || now[0] != (unsigned long)SIG_IGN))
			result = sys_call4(SYS_rt_sigaction, signal, reset, NULL, sizeof(uint64_t));
		if (!passed(plan, result))
			return false;
	}
	return true;
}

static bool enter_cgroup(const struct child_plan *plan)
{
	long fd, result;

	if (plan->cgroup_fd < 0 || plan->in_cgroup)
		return true;
	begin(plan, ODF_STEP_CGROUP, -1);
	fd = sys_call4(SYS_openat, plan->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0);
	result = fd;
	if (fd >= 0) {
		result = sys_write((int)fd, "0", 1);
		sys_close((int)fd);
	}
	return passed(plan, result);
}

/* A child that is held by vfork has a score of its own, also while it shares memory. */
static bool set_oom_score(const struct child_plan *plan)
{
	char digits[12];
	struct text text = text_start(digits, sizeof digits);
	long fd, result;

	if (!(plan->flags & ODF_SPAWN_OOM_SCORE_ADJ))
		return true;
	begin(plan, ODF_STEP_OOM_SCORE, -1);
	text_add_signed(&text, plan->oom_score_adj);
	fd = sys_open("/proc/self/oom_score_adj", O_WRONLY, 0);
	result = fd;
	if (fd >= 0) {
		result = sys_write((int)fd, digits, text.length);
		sys_close((int)fd);
	}
	return passed(plan, result);
}

static bool join_namespaces(const struct child_plan *plan)
{
	for (size_t i = 0; i < plan->namespace_count; i++) {
		begin(plan, ODF_STEP_NAMESPACE, (int)i);
		if (!passed(plan, sys_call2(SYS_setns, plan->namespaces[i].fd, plan->namespaces[i].type)))
			return false;
	}
	return true;
}

/* The old working directory would lead out of the new root. */
static bool change_root(const struct child_plan *plan)
{
	if (plan->root == NULL)
		return true;
	if (!one_step(plan, ODF_STEP_ROOT, SYS_chroot, (long)plan->root, 0, 0))
		return false;
	return one_step(plan, ODF_STEP_ROOT, SYS_chdir, (long)"/", 0, 0);
}

static bool change_directory(const struct child_plan *plan)
{
	bool absolute = plan->cwd != NULL && plan->cwd[0] == '/';

	if (plan->cwd_fd >= 0 && !absolute && !one_step(plan, ODF_STEP_CWD, SYS_fchdir, plan->cwd_fd, 0, 0))
		return false;
	return plan->cwd == NULL || one_step(plan, ODF_STEP_CWD, SYS_chdir, (long)plan->cwd, 0, 0);
}

static bool is_named(const struct child_plan *plan, int fd)
{
	size_t low = 0, high = plan->named_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (plan->named[middle] < fd)
			low = middle + 1;
		else
			high = middle;
	}
	return low < plan->named_count && plan->named[low] == fd;
}

/* A copy of `from` at a number that no action names, neither as its target, where it would be overwritten, nor as its
 * source, where it would pass for a descriptor of the caller's that is not open: above all of them, or, where the
 * limit of descriptors is lower than that, at the first free number between them. */
static long spare_copy(const struct child_plan *plan, int from)
{
	int above = plan->named_count > 0 ? plan->named[plan->named_count - 1] + 1 : 0;
	long fd = sys_call3(SYS_fcntl, from, F_DUPFD_CLOEXEC, above);

	for (int minimum = 0; (fd == -EINVAL || fd == -EMFILE) && minimum < above; minimum++) {
		if (is_named(plan, minimum))
			continue;
		fd = sys_call3(SYS_fcntl, from, F_DUPFD_CLOEXEC, minimum);
		if (fd >= 0 && is_named(plan, (int)fd)) {
			sys_close((int)fd);
			minimum = (int)fd;
			fd = -EMFILE;
		}
	}
	return fd;
}

static long open_at(const struct child_plan *plan, const struct fd_op *op)
{
	int directory = op->spare >= 0 ? plan->spares[op->spare] : op->from;
	long fd = sys_call4(SYS_openat, directory, op->path, op->flags | O_CLOEXEC | O_LARGEFILE, op->mode), result;

	if (fd < 0)
		return fd;
	if (fd == op->to)
		return sys_call3(SYS_fcntl, fd, F_SETFD, 0);
	result = sys_call3(SYS_dup3, fd, op->to, 0);
	sys_close((int)fd);
	return result;
}

static long apply(const struct child_plan *plan, const struct fd_op *op)
{
	long result;

	switch (op->kind) {
	case FD_OP_DUP:
		return sys_call3(SYS_dup3, op->from, op->to, 0);
	case FD_OP_SAVE:
		result = spare_copy(plan, op->from);
		if (result >= 0)
			plan->spares[op->spare] = (int)result;
		return result;
	case FD_OP_RESTORE:
		return sys_call3(SYS_dup3, plan->spares[op->spare], op->to, 0);
	case FD_OP_INHERIT:
		result = sys_call3(SYS_fcntl, op->to, F_GETFD, 0);
		return result < 0 ? result : sys_call3(SYS_fcntl, op->to, F_SETFD, result & ~FD_CLOEXEC);
	case FD_OP_OPEN:
		return open_at(plan, op);
	case FD_OP_CLOSE:
		/* That it was not open is what was asked for; other errors come after the descriptor is gone. */
		sys_close(op->to);
		return 0;
	}
	return -EINVAL;
}

static bool map_descriptors(const struct child_plan *plan)
{
	for (size_t i = 0; i < plan->op_count; i++) {
		begin(plan, plan->ops[i].step, plan->ops[i].index);
		if (!passed(plan, apply(plan, &plan->ops[i])))
			return false;
	}
	return true;
}

/* "123" as a number; -1 for "." and "..". */
static int number_of(const char *name)
{
	int number = 0;

	if (*name < '0' || *name > '9')
		return -1;
	for (; *name >= '0' && *name <= '9'; name++)
		number = number * 10 + (*name - '0');
	return number;
}

static bool in_ranges(const struct child_plan *plan, unsigned fd)
{
	for (size_t i = 0; i < plan->other_count; i++)
		if (fd >= plan->others[i].first && fd <= plan->others[i].last)
			return true;
	return false;
}

static void close_on_exec(int fd)
{
	long flags = sys_call3(SYS_fcntl, fd, F_GETFD, 0);

	if (flags >= 0)
		sys_call3(SYS_fcntl, fd, F_SETFD, flags | FD_CLOEXEC);
}

/* Without close_range: what /proc shows as open. */
static long mark_others_by_proc(const struct child_plan *plan)
{
	_Alignas(8) char buffer[1024];
	int directory = sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
	long count;

	if (directory < 0)
		return directory;
	while ((count = sys_call3(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
		for (long at = 0; at < count;) {
			const char *entry = buffer + at; /* ino 8, off 8, length 2, type 1, name */
			int fd = number_of(entry + 19);
			if (fd >= 0 && in_ranges(plan, (unsigned)fd))
				close_on_exec(fd);
			at += *(const unsigned short *)(const void *)(entry + 16);
		}
	}
	sys_close(directory);
	return count;
}

/* Without /proc as well: every number that can be open. A limit that was lowered after descriptors were opened hides
 * those above it, so the hard limit is used, as far as one may hope to count. */
static long mark_others_by_counting(const struct child_plan *plan)
{
	uint64_t limit[2];
	long result = sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, limit);

	if (result < 0)
		return result;
	if (limit[1] > 1u << 20)
		limit[1] = 1u << 20; /* the kernel's own default ceiling, fs.nr_open */
	for (size_t i = 0; i < plan->other_count; i++)
		for (uint64_t fd = plan->others[i].first; fd <= plan->others[i].last && fd < limit[1]; fd++)
			close_on_exec((int)fd);
	return 0;
}

/* Descriptors are marked rather than closed: at exec it is the same, and until then what the child itself needs stays
 * open. */
static bool close_others(const struct child_plan *plan)
{
	long result = 0;

	if (!(plan->flags & ODF_SPAWN_CLOSE_OTHER_FDS))
		return true;
	begin(plan, ODF_STEP_CLOSE_OTHERS, -1);
	for (size_t i = 0; i < plan->other_count && result >= 0; i++)
		result = sys_call3(SYS_close_range, plan->others[i].first, plan->others[i].last, CLOSE_RANGE_CLOEXEC);
	if (result < 0) { /* ENOSYS before 5.9, EINVAL for the flag before 5.11, EPERM from filters */
		result = mark_others_by_proc(plan);
		if (result < 0)
			result = mark_others_by_counting(plan);
	}
	return passed(plan, result);
}

/* Where a descriptor of the caller's is by now. */
static int kept_number(const struct child_plan *plan, int which)
{
	const struct kept_fd *kept = &plan->kept[which];

	return kept->spare >= 0 ? plan->spares[kept->spare] : kept->fd;
}

/* All signals are blocked, SIGTTOU too: a background process may change the foreground group only so. What was
 * before is noted, for the caller to put it back if the spawn fails after all. */
static bool take_foreground(const struct child_plan *plan)
{
	int tty = kept_number(plan, KEPT_TTY), group, before = 0;
	long fd = tty, result;

	if (!(plan->flags & ODF_SPAWN_FOREGROUND))
		return true;
	if (plan->flags & ODF_SPAWN_SETSID)
		return one_step(plan, ODF_STEP_FOREGROUND, SYS_ioctl, tty >= 0 ? tty : 0, TIOCSCTTY, 0);
	begin(plan, ODF_STEP_FOREGROUND, -1);
	if (tty < 0)
		fd = sys_open("/dev/tty", O_RDWR | O_NOCTTY, 0);
	result = fd;
	if (fd >= 0) {
		group = (int)sys_call1(SYS_getpgid, 0);
		result = sys_call3(SYS_ioctl, fd, TIOCGPGRP, &before);
		if (result >= 0) {
			plan->outcome->foreground_before = before;
			plan->outcome->foreground = group;
			result = sys_call3(SYS_ioctl, fd, TIOCSPGRP, &group);
		}
		if (tty < 0)
			sys_close((int)fd);
	}
	return passed(plan, result);
}

static bool set_scheduling(const struct child_plan *plan)
{
	if ((plan->flags & ODF_SPAWN_NICE) && !one_step(plan, ODF_STEP_NICE, SYS_setpriority, PRIO_PROCESS, 0, plan->nice))
		return false;
	if ((plan->flags & ODF_SPAWN_SCHED) &&
	    !one_step(plan, ODF_STEP_SCHED, SYS_sched_setscheduler, 0, plan->sched_policy, (long)&plan->sched_param))
		return false;
	if (plan->sched_attr != NULL && !one_step(plan, ODF_STEP_SCHED, SYS_sched_setattr, 0, (long)plan->sched_attr,
						  0))
		return false;
	if ((plan->flags & ODF_SPAWN_IOPRIO) && !one_step(plan, ODF_STEP_IOPRIO, SYS_ioprio_set, IOPRIO_PROCESS, 0,
							  plan->ioprio))
		return false;
	return plan->affinity == NULL || one_step(plan, ODF_STEP_AFFINITY, SYS_sched_setaffinity, 0, (long)plan->affinity_size,
						  (long)plan->affinity);
}

static bool set_limits(const struct child_plan *plan)
{
	for (size_t i = 0; i < plan->limit_count; i++) {
		const struct limit *limit = &plan->limits[i];
		begin(plan, ODF_STEP_RLIMIT, (int)i);
		if (!passed(plan, sys_call4(SYS_prlimit64, 0, limit->resource, limit->soft_hard, NULL)))
			return false;
	}
	return true;
}

/* Supplementary groups and group first, while there is still the right to. What is to be ambient must outlive the
 * change. */
static bool set_ids(const struct child_plan *plan)
{
	if ((plan->flags & ODF_SPAWN_AMBIENT) && (plan->flags & ODF_SPAWN_UID)) {
		begin(plan, ODF_STEP_CAPABILITIES, -1);
		if (!passed(plan, sys_call5(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0)))
			return false;
	}
	if ((plan->flags & ODF_SPAWN_GROUPS) &&
	    !one_step(plan, ODF_STEP_GROUPS, SETGROUPS, (long)plan->group_count, (long)plan->groups, 0))
		return false;
	if ((plan->flags & ODF_SPAWN_GID) &&
	    !one_step(plan, ODF_STEP_GID, SETRESGID, (long)plan->gid, (long)plan->gid, (long)plan->gid))
		return false;
	return !(plan->flags & ODF_SPAWN_UID) ||
	       one_step(plan, ODF_STEP_UID, SETRESUID, (long)plan->uid, (long)plan->uid, (long)plan->uid);
}

/* A capability can be ambient if it is permitted and inheritable. What the change of user has left for that reason
 * is taken away again. */
static bool set_capabilities(const struct child_plan *plan)
{
	struct capability_header header = { CAPABILITY_VERSION, 0 };
	struct capability_data data[2];
	long result;

	if (!(plan->flags & ODF_SPAWN_AMBIENT))
		return true;
	begin(plan, ODF_STEP_CAPABILITIES, -1);
	result = sys_call2(SYS_capget, &header, data);
	for (unsigned i = 0; i < 2 && result >= 0; i++) {
		uint32_t wanted = (uint32_t)(plan->ambient >> 32 * i);
		data[i].inheritable |= wanted;
		data[i].effective |= wanted;
		if ((plan->flags & ODF_SPAWN_UID) && plan->uid != 0)
			data[i].effective = data[i].permitted = wanted & data[i].permitted;
	}
	if (result >= 0)
		result = sys_call2(SYS_capset, &header, data);
	if (result >= 0)
		result = sys_call5(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (long capability = 0; capability < 64 && result >= 0; capability++)
		if (plan->ambient >> capability & 1)
			result = sys_call5(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
	return passed(plan, result);
}

/* After the ids: changing them clears the signal. The parent may have ended before it was set; 0 is a parent outside
 * this pid namespace, which cannot be told apart. */
static bool set_parent_death(const struct child_plan *plan)
{
	long parent;

	if (plan->parent_death_signal == 0)
		return true;
	if (!one_step(plan, ODF_STEP_PARENT_DEATH, SYS_prctl, PR_SET_PDEATHSIG, plan->parent_death_signal, 0))
		return false;
	parent = sys_call0(SYS_getppid);
	return passed(plan, parent == plan->parent || parent == 0 ? 0 : -ESRCH);
}

static bool run_pre_exec(const struct child_plan *plan)
{
	int error;

	if (plan->pre_exec == NULL)
		return true;
	begin(plan, ODF_STEP_PRE_EXEC, -1);
	error = plan->pre_exec(plan->pre_exec_arg);
	return passed(plan, error > 0 ? -(long)error : error < 0 ? -EINVAL : 0);
}

static bool confine(const struct child_plan *plan)
{
	long result;

	if (plan->flags & ODF_SPAWN_NO_NEW_PRIVS) {
		begin(plan, ODF_STEP_NO_NEW_PRIVS, -1);
		if (!passed(plan, sys_call5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
			return false;
	}
	/* Before the filter, which need allow nothing but execve. */
	result = sys_sigprocmask(SIG_SETMASK, &plan->sigmask, NULL);
	if (result < 0)
		begin(plan, ODF_STEP_SIGNALS, -1);
	if (!passed(plan, result))
		return false;
	return plan->seccomp == NULL ||
	       one_step(plan, ODF_STEP_SECCOMP, SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)plan->seccomp);
}

/* /proc/self/fd/N in `path`, for kernels or filters without execveat. */
static void descriptor_path(char path[32], int fd)
{
	const char *prefix = "/proc/self/fd/";
	char digits[12];
	int count = 0;

	while (*prefix != '\0')
		*path++ = *prefix++;
	do
		digits[count++] = (char)('0' + fd % 10);
	while ((fd /= 10) > 0);
	while (count > 0)
		*path++ = digits[--count];
	*path = '\0';
}

static long execute_descriptor(const struct child_plan *plan)
{
	int fd = kept_number(plan, KEPT_EXEC);
	long result = sys_call5(SYS_execveat, fd, "", plan->argv, plan->envp, AT_EMPTY_PATH), by_path;
	char path[32];

	if (result != -ENOSYS && result != -EPERM)
		return result;
	descriptor_path(path, fd);
	by_path = sys_call3(SYS_execve, path, plan->argv, plan->envp);
	return by_path == -ENOENT ? result : by_path; /* without /proc the first answer is the true one */
}

/* In a search, an error that speaks only of one directory leads on to the next; a file that may not be executed is
 * remembered, and is the result if nothing better is found. */
static long execute_path(const struct child_plan *plan)
{
	long result = -ENOENT;
	bool denied = false;

	for (size_t i = 0; i < plan->candidate_count; i++) {
		result = sys_call3(SYS_execve, plan->candidates[i], plan->argv, plan->envp);
		switch (plan->searched ? -result : 0) {
		case EACCES:
			denied = true;
			continue;
		case ENOENT:
		case ENOTDIR:
		case ESTALE:
		case ENODEV:
		case ETIMEDOUT:
			continue;
		default:
			return result;
		}
	}
	return denied ? -EACCES : result;
}

/* A file that was just written may be open for writing in a child that another thread has forked, until that child's
 * exec. */
static long execute(const struct child_plan *plan)
{
	static const struct timespec moment = { 0, 1000000 };
	const uint64_t all = ~0ull;
	unsigned left = plan->busy_retry_ms;

	for (;;) {
		long result = plan->kept[KEPT_EXEC].fd >= 0 ? execute_descriptor(plan) : execute_path(plan);
		if (result != -ETXTBSY || left-- == 0)
			return result;
		/* Not to be stopped by a signal here, while the caller is held. A filter may forbid to change the
		 * mask. */
		if (plan->seccomp == NULL)
			sys_sigprocmask(SIG_SETMASK, &all, NULL);
		sys_call2(SYS_nanosleep, &moment, NULL);
		if (plan->seccomp == NULL)
			sys_sigprocmask(SIG_SETMASK, &plan->sigmask, NULL);
	}
}

void child_run(const struct child_plan *plan)
{
	begin(plan, ODF_STEP_CLONE, -1);
	if (plan->pidfd != NULL && *plan->pidfd < 0) { /* a kernel that did not know the flag */
		begin(plan, ODF_STEP_PIDFD, -1);
		passed(plan, -ENOSYS);
		return;
	}
	if (!reset_signals(plan) || !enter_cgroup(plan) || !set_oom_score(plan) || !join_namespaces(plan) ||
	    !change_root(plan))
		return;
	if ((plan->flags & ODF_SPAWN_SETSID) && !one_step(plan, ODF_STEP_SETSID, SYS_setsid, 0, 0, 0))
		return;
	if ((plan->flags & ODF_SPAWN_SETPGROUP) && !one_step(plan, ODF_STEP_PGROUP, SYS_setpgid, 0, plan->pgroup, 0))
		return;
	if (!change_directory(plan) || !map_descriptors(plan) || !take_foreground(plan) || !close_others(plan))
		return;
	if ((plan->flags & ODF_SPAWN_UMASK) && !one_step(plan, ODF_STEP_UMASK, SYS_umask, (long)plan->umask, 0, 0))
		return;
	if (!set_scheduling(plan) || !set_limits(plan) || !set_ids(plan) || !set_capabilities(plan) ||
	    !set_parent_death(plan) || !run_pre_exec(plan) ||
	    !confine(plan))
		return;
	begin(plan, ODF_STEP_EXEC, -1);
	passed(plan, execute(plan));
}

/* Where nobody waits who could do it: the group that had the terminal gets it back, unless somebody else has taken it
 * by now. The child's group has it, so it may. */
static void give_foreground_back(const struct child_plan *plan)
{
	const uint64_t all = ~0ull;
	int tty, before = plan->outcome->foreground_before, now = 0;
	long fd;

	/* A filter may punish the attempt; the caller waits for such a child, and gives the terminal back itself. */
	if (!(plan->flags & ODF_SPAWN_NO_WAIT) || plan->seccomp != NULL || plan->outcome->error == 0 || before <= 0)
		return;
	sys_sigprocmask(SIG_SETMASK, &all, NULL);
	tty = kept_number(plan, KEPT_TTY);
	fd = tty;
	if (tty < 0)
		fd = sys_open("/dev/tty", O_RDWR | O_NOCTTY, 0);
	if (fd >= 0 && sys_call3(SYS_ioctl, fd, TIOCGPGRP, &now) >= 0 && now == plan->outcome->foreground)
		sys_call3(SYS_ioctl, fd, TIOCSPGRP, &before);
}

int child_entry(void *plan)
{
	child_run(plan);
	give_foreground_back(plan);
	return 127;
}
