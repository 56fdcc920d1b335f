/* SPDX-License-Identifier: MIT
 *
 * Parent's side: what became of the child. Raw system calls: no cancellation point, errno untouched.
 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "../sys/syscall.h"
#include "../sys/text.h"
#include "engine.h"

/* PF_FORKNOEXEC of the kernel's task flags, which are field 9 of /proc/PID/stat (proc(5) promises the field, the kernel has kept the
 * bit since 2.6): set by fork, cleared by exec past its point of no return. */
#define FORKED_NOT_EXECUTED 0x40ul

bool engine_is_zombie(pid_t pid)
{
	siginfo_t info;

	info.si_pid = 0;
	return sys_call5(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT, NULL) == 0 && info.si_pid == pid;
}

int engine_reap(pid_t pid)
{
	int status = 0;
	long result;

	do
		result = sys_call4(SYS_wait4, pid, &status, 0, NULL);
	while (result == -EINTR);
	return result == pid ? status : 0; /* ECHILD: SIGCHLD is ignored, or another thread waits for everything */
}

/* The state letter and the flags of /proc/PID/stat; false if they cannot be had. */
static bool read_stat(pid_t pid, char *state, unsigned long *flags)
{
	char path[32], stat[512];
	struct text text = text_start(path, sizeof path);
	long count, at;
	int fd;

	text_add(&text, "/proc/");
	text_add_signed(&text, pid);
	text_add(&text, "/stat");
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return false;
	count = sys_read(fd, stat, sizeof stat - 1);
	sys_close(fd);
	if (count <= 0)
		return false;
	stat[count] = '\0';
	for (at = count; at > 0 && stat[at] != ')'; at--) /* the name before it may contain anything, ')' too */
		;
	if (at == 0 || at + 2 >= count)
		return false;
	*state = stat[at + 2];
	*flags = 0;
	for (int field = 2; field < 9 && stat[at] != '\0'; at++)
		field += stat[at] == ' ';
	for (; stat[at] >= '0' && stat[at] <= '9'; at++)
		*flags = *flags * 10 + (unsigned long)(stat[at] - '0');
	return true;
}

enum life engine_life(pid_t pid)
{
	unsigned long flags;
	char state;

	if (!read_stat(pid, &state, &flags))
		return LIFE_UNKNOWN;
	if (!(flags & FORKED_NOT_EXECUTED))
		return LIFE_EXECUTED;
	return state == 'Z' || state == 'X' ? LIFE_DEAD : LIFE_RUNS;
}

/* Whether the child, of which nothing is known but that it said nothing wrong, is dead without having executed a program. Only the
 * kernel's flags tell that from a program that ended at once; where they cannot be read, the caller learns of the death by waiting. */
static bool died_silently(const struct child_outcome *outcome, pid_t pid)
{
	if (outcome->step == ODF_STEP_EXEC)
		return engine_is_zombie(pid) && engine_life(pid) == LIFE_DEAD;
	/* It cannot have executed anything, unless pre_exec did so itself. */
	switch (engine_life(pid)) {
	case LIFE_EXECUTED:
		return false;
	case LIFE_UNKNOWN:
		return engine_is_zombie(pid) || sys_call2(SYS_kill, pid, 0) == -ESRCH;
	default:
		return true;
	}
}

void engine_conclude(struct result *result, const struct child_outcome *outcome, pid_t pid)
{
	result->forgiven = outcome->forgiven;
	result->error = outcome->error;
	if (result->error == 0 && !died_silently(outcome, pid)) {
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
