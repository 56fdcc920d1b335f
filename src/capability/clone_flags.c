/* SPDX-License-Identifier: MIT
 *
 * A kernel that does not know a flag refuses it with EINVAL and makes no process. A kernel that accepts it may still
 * ignore it, so each probe looks for the flag's effect.
 */
#include "clone_flags.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "../sys/clone.h"
#include "../sys/next_process.h"
#include "../sys/syscall.h"

enum { STACK_SIZE = 16384 };

/* What a child has found. Volatile: the child writes it, the caller reads it. */
struct found {
	volatile int no_new_privs;
	volatile int outlived; /* the child outlived its descriptor */
};

static ODF_UNINSTRUMENTED int ends(void *found)
{
	(void)found;
	return 0;
}

static ODF_UNINSTRUMENTED int asks(void *found)
{
	((struct found *)found)->no_new_privs = sys_call5(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	return 0;
}

/* Lives for a second at most, if the kernel does not kill it. */
static ODF_UNINSTRUMENTED int stays(void *found)
{
	const struct timespec second = { 1, 0 };

	(void)sys_call2(SYS_nanosleep, &second, NULL);
	((struct found *)found)->outlived = 1;
	return 0;
}

/* Makes the child and waits for its end. 0: the kernel has reaped it; 1: the caller had to; or minus an errno value,
 * and no process was made. */
static int try(uint64_t flags, int (*function)(void *found), struct found *found)
{
	uint64_t all = ~0ull, mask;
	int pidfd = -1;
	struct clone_request request = {
		.flags = CLONE_VM | flags,
		.stack_size = STACK_SIZE,
		.function = function,
		.argument = found,
		.pidfd = &pidfd,
	};
	long pid, waited = 0;

	if (next_process() == NEXT_PROCESS_FIRST || next_process() == NEXT_PROCESS_UNKNOWN)
		return -EAGAIN; /* the PID namespace would end with the child */
	request.stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (request.stack == MAP_FAILED)
		return -ENOMEM;
	sys_sigprocmask(SIG_BLOCK, &all, &mask); /* the child must not run a handler on this memory */
	pid = clone3_child(&request);
	if (pid > 0) {
		if (flags & CLONE_PIDFD)
			sys_close(pidfd);
		do /* also for a child that cannot be waited for: it uses this memory and stack until it is gone */
			waited = sys_call4(SYS_wait4, pid, NULL, __WALL, NULL);
		while (waited == -EINTR);
	}
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	munmap(request.stack, STACK_SIZE);
	return pid < 0 ? (int)pid : waited == pid;
}

int clone_flags_probe_autoreap(void)
{
	struct found found = { 0 };
	int result = try(CLONE_VFORK | CLONE_AUTOREAP, ends, &found);

	return result == 1 ? -EPROTO : result;
}

int clone_flags_probe_nnp(void)
{
	struct found found = { 0 };
	int result = try(CLONE_VFORK | CLONE_NNP, asks, &found);

	return result < 0 ? result : found.no_new_privs ? 0 : -EPROTO;
}

/* CLONE_NNP makes it work without privilege. A child that another thread forks now has a copy of the descriptor until
 * it executes a program. So a child that outlives the descriptor here does not prove that the kernel lacks the flag. */
int clone_flags_probe_autokill(void)
{
	struct found found = { 0 };
	int result = try(CLONE_PIDFD | CLONE_AUTOREAP | CLONE_NNP | CLONE_PIDFD_AUTOKILL, stays, &found);

	return result < 0 ? result : found.outlived ? -EAGAIN : result == 0 ? 0 : -EPROTO;
}
