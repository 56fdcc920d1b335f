/* SPDX-License-Identifier: MIT
 *
 * A child that shares this memory, like that of engine_vfork.c, and does not hold its maker until exec. It runs on a
 * plan in memory that no caller owns, and the kernel reports when it has let go of that (CLONE_CHILD_CLEARTID).
 *
 * Why the caller makes the child itself, although other pools have processes in advance that wait for a message.
 * Measured (bench/RESULTS.md): the clone takes no longer than to wake such a process. And a child of the caller has the
 * caller's state at the time of the call: descriptors, working directory and root, umask, limits, ids, capabilities,
 * filters, namespaces, scheduling, session, ignored signals, and whatever later kernels add. To read all that, for a
 * process that was made before, takes three times as long as the clone; some of it cannot be read without a change (the
 * umask), and some cannot be passed on (the session, seccomp filters). And there is no process between request and
 * answer that could be killed.
 *
 * A detached child is made by a go-between, which ends when it has made it: the caller is held until then, not until
 * exec.
 *
 * If the caller wants to wait for exec, CLONE_VFORK holds it, as in engine_vfork.c: that is the shorter way, and
 * debuggers know it. (From a child that shares memory without CLONE_VFORK gdb removes its breakpoints, and with that
 * from the program.)
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

/* Namespaces that affect the memory, or that a process may join only alone. A user namespace changes capabilities,
 * which clears the memory's dumpable mark. A process may join a time namespace only if it does not share its memory. */
static bool concerns_memory(const odf_namespace *namespace)
{
	long type = namespace->type != 0 ? namespace->type : sys_call3(SYS_ioctl, namespace->fd, NS_GET_NSTYPE, 0);

	return type < 0 || (type & (CLONE_NEWUSER | CLONE_NEWTIME));
}

/* What affects the memory is done while the caller is held. A change of ids clears the memory's dumpable mark, which
 * may be restored only when no process runs on it with other ids. An OOM score would apply to all processes that share
 * the memory. The terminal: if a later step fails, the child restores it itself, unless a filter may forbid that. And
 * on architectures where system calls go through libc, they write the caller's errno. */
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

	/* Also if the caller is held: other threads may change what the request borrows, above all the environment. */
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
	/* A signal handler in the child would run on this memory: all 64 signals are blocked. */
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
