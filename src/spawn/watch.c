/* SPDX-License-Identifier: MIT
 *
 * What became of a child, seen by its parent: the caller, or the go-between of a detached child, which RUNS ON SHARED
 * MEMORY: see child.c for the rules, which are kept here too. No cancellation point, errno untouched.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "../sys/proc.h"
#include "../sys/text.h"
#include "engine.h"

/* PF_FORKNOEXEC of the kernel's task flags, which are field 9 of /proc/PID/stat (proc(5) promises the field, the
 * kernel has kept the bit since 2.6): set by fork, cleared by exec past its point of no return. */
#define FORKED_NOT_EXECUTED 0x40ul

static bool is_zombie(pid_t pid)
{
	siginfo_t info;

	info.si_pid = 0;
	return sys_call5(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT, NULL) == 0 && info.si_pid == pid;
}

bool engine_ended(pid_t pid)
{
	siginfo_t info;
	long result;

	info.si_pid = 0;
	result = sys_call5(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT, NULL);
	return result == -ECHILD || (result == 0 && info.si_pid == pid);
}

/* Whatever its exit signal is: one with ODF_SPAWN_AUTOREAP has none before exec, and is waited for until it has
 * gone. */
int engine_reap(pid_t pid)
{
	int status = 0;
	long result;

	do
		result = sys_call4(SYS_wait4, pid, &status, __WALL, NULL);
	while (result == -EINTR);
	return result == pid ? status : 0; /* ECHILD: SIGCHLD is ignored, or another thread waits for everything */
}

/* The flags in /proc/PID/stat; false if they cannot be had. */
static bool read_flags(pid_t pid, unsigned long *flags)
{
	char path[32], stat[512];
	struct text text = text_start(path, sizeof path);
	long count, at;
	int fd;

	text_add(&text, "/proc/");
	text_add_signed(&text, pid);
	text_add(&text, "/stat");
	fd = sys_open(path, PROC_READ, 0);
	if (fd < 0)
		return false;
	count = sys_read(fd, stat, sizeof stat - 1);
	sys_close(fd);
	if (count <= 0)
		return false;
	stat[count] = '\0';
	for (at = count; at > 0 && stat[at] != ')'; at--) /* the name before it may contain anything, ')' too */
		;
	if (at == 0)
		return false;
	*flags = 0;
	for (int field = 2; field < 9 && stat[at] != '\0'; at++)
		field += stat[at] == ' ';
	for (; stat[at] >= '0' && stat[at] <= '9'; at++)
		*flags = *flags * 10 + (unsigned long)(stat[at] - '0');
	return true;
}

/* Whether /proc speaks of our pid namespace: one that was mounted for another has other processes under the same
 * numbers. */
static bool proc_is_ours(void)
{
	char target[16];
	long length = sys_call4(SYS_readlinkat, AT_FDCWD, "/proc/self", target, sizeof target),
	     self = sys_call0(SYS_getpid), shown = 0;

	for (long i = 0; i < length; i++) {
		if (target[i] < '0' || target[i] > '9')
			return false;
		shown = shown * 10 + (target[i] - '0');
	}
	return length > 0 && shown == self;
}

/* Whether setpgid answers for itself: the kernel refuses a negative group with EINVAL before it looks at anything; a
 * filter answers what it answers always. */
static bool setpgid_works(void)
{
	return sys_call2(SYS_setpgid, 0, -1) == -EINVAL;
}

enum life engine_life(pid_t pid)
{
	unsigned long flags;
	bool zombie;

	/* The usual case first: one system call. */
	if (sys_call2(SYS_setpgid, pid, INT_MAX) == -EACCES)
		return LIFE_EXECUTED;
	/* A zombie does not execute any more, so what is asked from here on holds if it is one. */
	zombie = is_zombie(pid);
	/* A process group may not be set for a child that has executed a program: POSIX has EACCES for that.
	 * Otherwise the group, which cannot exist, gives EPERM, and nothing is changed either way. A child in another
	 * session gives EPERM too. */
	switch (sys_call2(SYS_setpgid, pid, INT_MAX)) {
	case -EACCES:
		return LIFE_EXECUTED;
	case -ESRCH:
		return LIFE_GONE;
	default:
		break;
	}
	if (proc_is_ours() && read_flags(pid, &flags)) {
		if (!(flags & FORKED_NOT_EXECUTED))
			return LIFE_EXECUTED;
	} else if (!setpgid_works() || sys_call1(SYS_getsid, pid) != sys_call1(SYS_getsid, 0)) {
		return LIFE_UNKNOWN;
	}
	return zombie ? LIFE_DEAD : LIFE_RUNS;
}

/* Whether a child that said nothing wrong, and has let go of the memory it was made with, executed a program or died.
 * The kernel lets the parent go a moment before the child's flags show the exec, and a moment before a dying child is
 * dead, so "runs" does not last. */
bool engine_died_silently(const struct child_outcome *outcome, pid_t pid)
{
	const struct timespec moment = { 0, 20000 };

	for (;;) {
		switch (engine_life(pid)) {
		case LIFE_EXECUTED:
			return false;
		case LIFE_DEAD:
			return true;
		case LIFE_GONE: /* reaped by somebody else: it may well have executed, if it came that far */
		case LIFE_UNKNOWN:
			return outcome->step != ODF_STEP_EXEC;
		case LIFE_RUNS:
			(void)sys_call2(SYS_nanosleep, &moment, NULL);
			break;
		}
	}
}

void engine_conclude(struct result *result, const struct child_outcome *outcome, pid_t pid)
{
	result->forgiven = outcome->forgiven;
	result->foreground_before = outcome->foreground_before;
	result->foreground = outcome->foreground;
	result->error = outcome->error;
	if (result->error == 0 && !engine_died_silently(outcome, pid)) {
		result->pid = pid;
		return;
	}
	result->step = (odf_step)outcome->step;
	result->index = outcome->index;
	result->wait_status = engine_reap(pid);
	if (result->error == 0)
		result->error = ECHILD;
	else
		result->wait_status = 0; /* its own exit, after it had told us why */
}
