/* SPDX-License-Identifier: MIT
 *
 * clone() and syscall(SYS_clone, SYS_clone3) that make a process with memory of its own, as sandboxes and browsers do:
 * regions are frozen for it. All other calls are passed on: threads and children with CLONE_VM copy no memory.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/readable.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))

struct child {
	int (*function)(void *);
	void *argument;
};

static int start_child(void *child_pointer)
{
	struct child *child = child_pointer; /* in its own copy of the parent's stack */

	region_in_child();
	return child->function(child->argument);
}

/* A process that runs on the caller's memory beside it: no thread, and no vfork. */
static bool shares_quietly(uint64_t flags)
{
	return (flags & CLONE_VM) && !(flags & (CLONE_THREAD | CLONE_VFORK));
}

/* A child whose end sends no SIGCHLD: only a wait with __WALL or __WCLONE finds it. */
static bool is_odd(uint64_t flags, uint64_t signal)
{
	return signal != SIGCHLD && !(flags & CLONE_THREAD);
}

EXPORTED int clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
	void *parent_id, *storage, *child_id;
	struct child child = { function, argument };
	uint64_t start;
	va_list rest;
	int pid, error;

	/* The flags decide which of these the caller passed. The others are garbage, which is passed on and not
	 * used. */
	va_start(rest, argument);
	parent_id = va_arg(rest, void *);
	storage = va_arg(rest, void *);
	child_id = va_arg(rest, void *);
	va_end(rest);
	if (is_odd((unsigned)flags, (unsigned)flags & CSIGNAL))
		region_note_odd_child();
	if (shares_quietly((unsigned)flags) && function != NULL && stack != NULL) /* else clone refuses it */
		region_memory_is_shared();
	if (function == NULL || stack == NULL || (flags & CLONE_VM) || region_bytes() == 0) {
		pid = libc_clone(function, stack, flags, argument, parent_id, storage, child_id);
		if (pid == -1 && errno == EAGAIN && region_give_way())
			pid = libc_clone(function, stack, flags, argument, parent_id, storage, child_id);
		return pid;
	}
	error = region_fork_begin(&start);
	if (error != 0) {
		errno = error;
		return -1;
	}
	pid = libc_clone(start_child, stack, flags, &child, parent_id, storage, child_id);
	if (pid == -1 && errno == EAGAIN && region_give_way())
		pid = libc_clone(start_child, stack, flags, &child, parent_id, storage, child_id);
	error = errno;
	region_fork_end(pid);
	errno = error;
	return pid;
}

#if PRELOAD_HAS_SYSCALL
struct clone3_arguments {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack;
};

/* With regions, a child that returns from syscall() on a copy of this stack must be made by the library. */
bool syscall_look_at_fork(const long words[6])
{
	(void)words;
	return region_bytes() != 0;
}

bool syscall_look_at_clone(const long words[6]) /* flags, stack */
{
	if (is_odd((unsigned long)words[0], (unsigned long)words[0] & CSIGNAL))
		region_note_odd_child();
	if (shares_quietly((unsigned long)words[0]))
		region_memory_is_shared();
	return region_bytes() != 0 && !(words[0] & CLONE_VM) && words[1] == 0;
}

/* The kernel's limits of the size: it refuses less than the first, and more than a page. */
enum { CLONE3_LEAST = 64, CLONE3_MOST = 4096 };
_Static_assert(offsetof(struct clone3_arguments, stack) == 40 && sizeof(struct clone3_arguments) <= CLONE3_LEAST,
	       "as the kernel has it, and no more of it is read than the smallest has");

/* Arguments that are bad as far as can be seen here are left to the kernel, which refuses them. */
bool syscall_look_at_clone3(const long words[6]) /* arguments, size */
{
	struct clone3_arguments arguments;
	unsigned long size = (unsigned long)words[1];

	if (size < CLONE3_LEAST || size > CLONE3_MOST || !sys_is_readable((const void *)words[0], size))
		return false;
	memcpy(&arguments, (const void *)words[0], sizeof arguments); /* they need not be aligned */
	if (is_odd(arguments.flags, arguments.exit_signal))
		region_note_odd_child();
	if (shares_quietly(arguments.flags))
		region_memory_is_shared();
	return region_bytes() != 0 && !(arguments.flags & CLONE_VM) && arguments.stack == 0;
}

long syscall_make_process(long number, const long words[6])
{
	uint64_t start;
	long result = -region_fork_begin(&start);

	if (result < 0)
		return result;
	result = sys_call6(number, words[0], words[1], words[2], words[3], words[4], 0);
	if (result == -EAGAIN && region_give_way())
		result = sys_call6(number, words[0], words[1], words[2], words[3], words[4], 0);
	if (result == 0)
		region_in_child();
	else
		region_fork_end((int)result);
	return result;
}
#endif
