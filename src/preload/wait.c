/* SPDX-License-Identifier: MIT
 *
 * Waits with __WALL or __WCLONE, which find children whose end sends no SIGCHLD. The keeper is such a child, but not
 * one that the program has made (region/keeper.h). All other waits are passed on. Async-signal-safe.
 *
 * A wait for any child with __WALL finds all children. If the program has made none of that kind, the flag is removed;
 * tracees are found without it (Linux 4.7). If it has, or waits with __WCLONE, the heap leaves before the call.
 */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))

static bool may_find_keeper(long options)
{
	return (options & (__WALL | __WCLONE)) && region_keeper_process() != 0 && region_keeper_is_ours();
}

/* For a wait for any child. False: there is no child to wait for. */
static bool leave_keeper_out(int *options)
{
	if ((*options & __WALL) && !region_has_odd_children()) {
		*options &= ~(int)(__WALL | __WCLONE);
		return true;
	}
	/* A region that the program has created stays, and so does its keeper: the wait finds it among the program's
	 * own children of that kind. */
	return region_give_way() || (*options & __WALL) || region_has_odd_children();
}

/* For wait4. */
static bool adjust(long pid, int *options)
{
	if (!may_find_keeper(*options))
		return true;
	if (pid == region_keeper_process())
		return false;
	return pid != -1 || leave_keeper_out(options);
}

static bool adjust_waitid(idtype_t type, id_t id, int *options)
{
	if (!may_find_keeper(*options))
		return true;
	if (type == P_PID && id == (id_t)region_keeper_process())
		return false;
	return type != P_ALL || leave_keeper_out(options);
}

static int no_child(void)
{
	errno = ECHILD;
	return -1;
}

EXPORTED pid_t waitpid(pid_t pid, int *status, int options)
{
	return adjust(pid, &options) ? libc_waitpid(pid, status, options) : no_child();
}

EXPORTED pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
	return adjust(pid, &options) ? libc_wait4(pid, status, options, usage) : no_child();
}

EXPORTED pid_t wait3(int *status, int options, struct rusage *usage)
{
	return adjust(-1, &options) ? libc_wait4(-1, status, options, usage) : no_child();
}

EXPORTED int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	return adjust_waitid(type, id, &options) ? libc_waitid(type, id, info, options) : no_child();
}

bool syscall_look_at_wait4(const long words[6])
{
	return may_find_keeper(words[2]);
}

long syscall_wait4(long number, const long words[6])
{
	int options = (int)words[2];

	return adjust((int)words[0], &options) ? sys_call4(number, words[0], words[1], options, words[3]) : -ECHILD;
}

bool syscall_look_at_waitid(const long words[6])
{
	return may_find_keeper(words[3]);
}

long syscall_waitid(long number, const long words[6])
{
	int options = (int)words[3];

	return adjust_waitid((idtype_t)words[0], (id_t)words[1], &options)
		       ? sys_call5(number, words[0], words[1], words[2], options, words[4])
		       : -ECHILD;
}
