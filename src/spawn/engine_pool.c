/* SPDX-License-Identifier: MIT
 *
 * A child that shares this memory, as that of engine_vfork.c does, and does not hold its maker until it executes: it
 * runs on a plan that lies in no caller's memory, and the kernel says when it has let go of it (CLONE_CHILD_CLEARTID).
 *
 * Why the caller makes the child itself, where a pool has processes in advance that only wait to be told. Measured
 * (bench/RESULTS.md): to make it so takes no more time than to wake a waiting process by a message, and a child of the
 * caller's has the caller's state as of the call: descriptors, working directory and root, umask, limits, ids,
 * capabilities, filters, namespaces, scheduling, session, ignored signals, and whatever later kernels add. To ask for
 * all that, so as to tell a process that was made before, takes three times as long as the clone; some of it
 * cannot be asked for without changing it (the umask), and some cannot be passed (the session, seccomp filters). And
 * nothing stands between a request and its answer that could be killed.
 *
 * Nobody's child has a go-between, which ends when it has made it: the caller is held for that, and not for an exec.
 *
 * Who wants to wait for exec is held by CLONE_VFORK, as by engine_vfork.c: that is the shorter way, and debuggers know
 * it. (From a child that shares memory without it gdb takes its breakpoints away, and so from the program.)
 */
#include <errno.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <signal.h>

#include <sys/ioctl.h>

#include "../sys/syscall.h"
#include "flight.h"
#include "make.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* Namespaces that a process enters by itself. One of users brings other capabilities, which withdraw the memory's
 * dumpable mark; into one of time the kernel lets only who has the memory for himself. */
static bool concerns_memory(const odf_namespace *namespace)
{
	long type = namespace->type != 0 ? namespace->type : sys_call3(SYS_ioctl, namespace->fd, NS_GET_NSTYPE, 0);

	return type < 0 || (type & (CLONE_NEWUSER | CLONE_NEWTIME));
}

/* What concerns the memory is done while the caller is held: a change of ids withdraws the memory's dumpable mark,
 * which can be given back only once nobody runs on it as somebody else; an OOM score would be that of all who share it.
 * A terminal is given back by the child itself, should a later step fail, unless a filter may forbid it to. Where
 * system calls go through libc they write errno, which is the caller's. */
static bool must_hold(const struct child_plan *child)
{
#if !(defined __x86_64__ && !defined __ILP32__) && !defined __aarch64__
	return true;
#endif
	if (child->flags & (ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_OOM_SCORE_ADJ))
		return true;
	for (size_t i = 0; i < child->namespace_count; i++)
		if (concerns_memory(&child->namespaces[i]))
			return true;
	return (child->flags & ODF_SPAWN_FOREGROUND) && child->seccomp != NULL;
}

void engine_pool(struct plan *plan, bool pidfd, struct result *result)
{
	struct clone_request request = {
		.flags = CLONE_VM,
		.exit_signal = SIGCHLD,
		.stack = plan->stack,
		.stack_size = plan->stack_size,
		.function = child_entry,
		.argument = &plan->child,
		.alive = &plan->alive,
	};
	bool waits = !(plan->child.flags & ODF_SPAWN_NO_WAIT);
	uint64_t all = ~0ull, mask;
	int cancel_state;
	long pid;

	/* Also where it holds the caller: other threads may change what the request borrows, the environment above
	 * all. */
	if (!waits && flight_pack(plan) != 0) {
		result->step = ODF_STEP_CLONE;
		result->error = ENOMEM;
		return;
	}
	if (waits || must_hold(&plan->child)) {
		engine_vfork(plan, pidfd, result);
		return;
	}
	if (pidfd) {
		request.flags |= CLONE_PIDFD;
		request.pidfd = &plan->pidfd;
		plan->child.pidfd = &plan->pidfd;
	}
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	/* A handler that ran in the child would run on this memory: not one of the 64 may come through. */
	sys_sigprocmask(SIG_SETMASK, &all, &mask);
	plan_inherit_mask(plan, mask);
	if (plan->child.flags & ODF_SPAWN_DETACH) {
		engine_detach(plan, &request, result);
	} else {
		pid = make_sharing(&plan->child, &request);
		if (pid < 0)
			make_failed(result, pid);
		else
			result->pid = (pid_t)pid;
	}
	plan->flying = result->pid >= 0;
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	pthread_setcancelstate(cancel_state, &cancel_state);
	result->pidfd = plan->pidfd;
	if (result->pid < 0 && result->pidfd >= 0) {
		sys_close(result->pidfd);
		result->pidfd = -1;
	}
}
