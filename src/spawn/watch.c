/* SPDX-License-Identifier: MIT
 *
 * What became of a child, as seen by its parent: the caller, or the go-between of a detached child, which RUNS ON
 * SHARED MEMORY: the rules of child.c hold here too. No cancellation point; does not touch errno.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "../sys/proc.h"
#include "../sys/text.h"
#include "engine.h"

/* PF_FORKNOEXEC of the kernel's task flags, field 9 of /proc/PID/stat: set by fork, cleared by exec when it can no
 * longer fail. proc(5) documents the field; the bit is the same since Linux 2.6. */
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

/* __WALL: whatever its exit signal is. A child with ODF_SPAWN_AUTOREAP has none before exec; then the wait lasts until
 * the kernel has reaped it. */
int engine_reap(pid_t pid)
{
	int status = 0;
	long result;

	do
		result = sys_call4(SYS_wait4, pid, &status, __WALL, NULL);
	while (result == -EINTR);
	return result == pid ? status : 0; /* ECHILD: SIGCHLD is ignored, or another thread has reaped it */
}

/* Reads the task flags from /proc/PID/stat. False: they cannot be read. */
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

/* Whether /proc shows our pid namespace. In a /proc of another namespace our pids belong to other processes. */
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

/* Whether the kernel answers setpgid: it refuses a negative group with EINVAL before any other check. A filter gives
 * one answer to all calls. */
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
	/* A zombie does not execute a program any more, so the answers below hold for one. */
	zombie = is_zombie(pid);
	/* setpgid fails with EACCES for a child that has executed a program (POSIX). Otherwise it fails with EPERM, as
	 * no such group can exist, or as the child is in another session. Nothing is changed in any case. */
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

/* Whether a child that has let go of the memory and has reported no error died, rather than execute the program. The
 * kernel wakes the parent shortly before the child's flags show the exec, and shortly before a dying child is dead, so
 * LIFE_RUNS does not last. */
bool engine_died_silently(const struct child_outcome *outcome, pid_t pid)
{
	const struct timespec moment = { 0, 20000 };

	for (;;) {
		switch (engine_life(pid)) {
		case LIFE_EXECUTED:
			return false;
		case LIFE_DEAD:
			return true;
		case LIFE_GONE: /* reaped elsewhere: it may have executed, if it came that far */
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
		result->wait_status = 0; /* its own exit, after it had reported the error */
}
