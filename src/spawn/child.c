/* SPDX-License-Identifier: MIT
 *
 * What a child does before exec.
 *
 * RUNS BETWEEN CLONE AND EXEC, on memory that may be the parent's. Rules, and how they are kept:
 *   - no libc function, not even memcpy: raw system calls and code of child*.c only (a test requires the object files
 *     to have no undefined symbol). libc would touch errno, locks, thread state or the loader, or signal the parent's
 *     threads.
 *   - no instrumentation: the build compiles this file without sanitizers, coverage and stack protector.
 *   - no allocation, and little stack.
 *   - writes go only to the outcome and to the spare numbers of the plan.
 */
#include "child_cgroup.h"
#include "child_step.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>

#include "../sys/proc.h"
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

enum { SIGNALS = 64, IOPRIO_PROCESS = 1 };

/* The kernel's structures, version 3 (Linux 2.6.26). */
struct capability_header {
	uint32_t version;
	int pid;
};
struct capability_data {
	uint32_t effective, permitted, inheritable;
};
_Static_assert(sizeof(struct capability_header) == 8 && sizeof(struct capability_data) == 12, "as the kernel has them");
#define CAPABILITY_VERSION 0x20080522u

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT           47
#define PR_CAP_AMBIENT_RAISE     2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

static bool one_step(const struct child_plan *plan, odf_step step, long number, long a, long b, long c)
{
	begin(plan, step, -1);
	return passed(plan, sys_call3(number, a, b, c));
}

/* Once signals are unblocked for exec, a handler of the parent would run here, on the parent's memory. So handled
 * signals get the default action; ignored ones stay ignored, as exec leaves them, unless they are to be reset. */
static bool reset_signals(const struct child_plan *plan)
{
	uint64_t reset_too = plan->flags & ODF_SPAWN_SIGDEFAULT ? plan->sigdefault : 0;

	if (plan->flags & ODF_SPAWN_RESET_SIGNALS)
		reset_too = ~0ull;
	if (plan->handlers_cleared && reset_too == 0)
		return true;
	begin(plan, ODF_STEP_SIGNALS, -1);
	for (int signal = 1; signal <= SIGNALS; signal++) {
		/* The kernel's structure: the handler first, at most 64 bytes. */
		unsigned long now[8], reset[8];
		long result;

		for (unsigned i = 0; i < 8; i++)
			*(volatile unsigned long *)&reset[i] = 0; /* volatile: otherwise the compiler calls memset */
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

/* A child of vfork has a score of its own, even while it shares memory. */
static bool set_oom_score(const struct child_plan *plan)
{
	char digits[12];
	struct text text = text_start(digits, sizeof digits);
	long fd, result;

	if (!(plan->flags & ODF_SPAWN_OOM_SCORE_ADJ))
		return true;
	begin(plan, ODF_STEP_OOM_SCORE, -1);
	text_add_signed(&text, plan->oom_score_adj);
	fd = sys_open("/proc/self/oom_score_adj", O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
	result = fd;
	if (fd >= 0) {
		/* If a filter refuses the check, the child writes anyway. A filter may also kill it for the check, as
		 * odf_spawn(3) says. The check is needed: in another root, a symbolic link could make even an
		 * unprivileged child write to a file of another user. */
		result = proc_look((int)fd);
		if (result != -ENOENT)
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

/* All signals are blocked, SIGTTOU included: only then may a background process change the foreground group. The old
 * group is noted, for the caller to restore if the spawn fails later. */
static bool take_foreground(const struct child_plan *plan)
{
	int tty = child_kept_number(plan, KEPT_TTY), group, before = 0;
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
	if ((plan->flags & ODF_SPAWN_NICE) &&
	    !one_step(plan, ODF_STEP_NICE, SYS_setpriority, PRIO_PROCESS, 0, plan->nice))
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
	return plan->affinity == NULL || one_step(plan, ODF_STEP_AFFINITY, SYS_sched_setaffinity, 0,
						  (long)plan->affinity_size, (long)plan->affinity);
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

/* Supplementary groups and group first, while the child has the privilege. With KEEPCAPS the capabilities that are to
 * be ambient outlive the change of user. */
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

/* A capability can be ambient only if it is permitted and inheritable. Drops those that only KEEPCAPS has kept. */
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

/* After the ids, as a change of ids clears the signal. The parent may have ended before this. getppid returns 0 for a
 * parent outside this pid namespace: then that cannot be told. */
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
	/* Before the filter, so that the filter need allow only execve. */
	result = sys_sigprocmask(SIG_SETMASK, &plan->sigmask, NULL);
	if (result < 0)
		begin(plan, ODF_STEP_SIGNALS, -1);
	if (!passed(plan, result))
		return false;
	return plan->seccomp == NULL ||
	       one_step(plan, ODF_STEP_SECCOMP, SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)plan->seccomp);
}

/* Writes /proc/self/fd/N to `path`, for kernels or filters without execveat. */
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
	int fd = child_kept_number(plan, KEPT_EXEC), directory;
	long result = sys_call5(SYS_execveat, fd, "", plan->argv, plan->envp, AT_EMPTY_PATH), by_path;
	char path[32];

	if (result != -ENOSYS && result != -EPERM)
		return result;
	/* If this is not procfs, as after a change of root, the name leads to another program. */
	directory = proc_open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
	if (directory == -ENOENT)
		return result;
	if (directory >= 0)
		sys_close(directory);
	descriptor_path(path, fd);
	by_path = sys_call3(SYS_execve, path, plan->argv, plan->envp);
	return by_path == -ENOENT ? result : by_path; /* no /proc: the first error is the true one */
}

/* In a search, an error that concerns one directory only leads to the next. EACCES is remembered, and is the result if
 * nothing better is found. */
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

/* ETXTBSY: a file that was just written may still be open for writing in a child that another thread has forked, until
 * that child's exec. */
static long execute(const struct child_plan *plan)
{
	static const struct timespec moment = { 0, 1000000 };
	const uint64_t all = ~0ull;
	unsigned left = plan->busy_retry_ms;

	for (;;) {
		long result = plan->kept[KEPT_EXEC].fd >= 0 ? execute_descriptor(plan) : execute_path(plan);
		if (result != -ETXTBSY || left-- == 0)
			return result;
		/* No signal may stop the child here, while it holds the caller. A filter may forbid the call. */
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
	if (plan->pidfd != NULL && *plan->pidfd < 0) { /* the kernel does not know CLONE_PIDFD */
		begin(plan, ODF_STEP_PIDFD, -1);
		passed(plan, -ENOSYS);
		return;
	}
	if (!reset_signals(plan) || !child_enter_cgroup(plan) || !set_oom_score(plan) || !join_namespaces(plan) ||
	    !change_root(plan))
		return;
	if ((plan->flags & ODF_SPAWN_SETSID) && !one_step(plan, ODF_STEP_SETSID, SYS_setsid, 0, 0, 0))
		return;
	if ((plan->flags & ODF_SPAWN_SETPGROUP) && !one_step(plan, ODF_STEP_PGROUP, SYS_setpgid, 0, plan->pgroup, 0))
		return;
	if (!change_directory(plan) || !child_map_descriptors(plan) || !take_foreground(plan) ||
	    !child_close_others(plan))
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

/* With ODF_SPAWN_NO_WAIT no process waits that could do this: the child restores the terminal's foreground group,
 * unless that has changed since. It is in the foreground group, so it may. */
static void give_foreground_back(const struct child_plan *plan)
{
	const uint64_t all = ~0ull;
	int tty, before = plan->outcome->foreground_before, now = 0;
	long fd;

	/* A filter may kill the child for this. The caller waits for such a child, and restores the group itself. */
	if (!(plan->flags & ODF_SPAWN_NO_WAIT) || plan->seccomp != NULL || plan->outcome->error == 0 || before <= 0)
		return;
	sys_sigprocmask(SIG_SETMASK, &all, NULL);
	tty = child_kept_number(plan, KEPT_TTY);
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
