/* SPDX-License-Identifier: MIT
 *
 * clone(CLONE_VM | CLONE_VFORK): the child runs on this memory, on a stack of its own, while the calling thread is held. What runs in the
 * child is child_entry and child_run, see child.c for the rules.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "../sys/clone.h"
#include "../sys/syscall.h"
#include "engine.h"

/* ENOSYS and EPERM come from filters as well as from kernels, EINVAL and E2BIG from kernels that lack a flag: all found before anything
 * is done, so the older way can be tried. */
static bool not_this_way(long error)
{
	return error == -ENOSYS || error == -EPERM || error == -EINVAL || error == -E2BIG;
}

/* EAGAIN, ENOMEM: a limit, the same for every way. The errors of a cgroup that cannot be entered are left to the child's own try, whose
 * error then has its step. */
static long clone_best(struct child_plan *child, struct clone_request *request)
{
	uint64_t plain = request->flags;
	long pid;

	request->flags = plain | CLONE_CLEAR_SIGHAND;
	child->handlers_cleared = true;
	if (child->cgroup_fd >= 0) {
		request->flags |= CLONE_INTO_CGROUP;
		request->cgroup_fd = child->cgroup_fd;
		child->in_cgroup = true;
		pid = clone3_child(request);
		if (pid >= 0 || pid == -EAGAIN || pid == -ENOMEM || pid == -EMFILE || pid == -ENFILE)
			return pid;
		request->flags &= ~CLONE_INTO_CGROUP;
		child->in_cgroup = false;
	}
	pid = clone3_child(request);
	if (!not_this_way(pid))
		return pid;
	request->flags = plain;
	child->handlers_cleared = false;
	return clone_child(request);
}

void engine_vfork(struct plan *plan, bool pidfd, struct result *result)
{
	struct clone_request request = {
		.flags = CLONE_VM | CLONE_VFORK,
		.exit_signal = SIGCHLD,
		.stack = plan->stack,
		.stack_size = plan->stack_size,
		.function = child_entry,
		.argument = &plan->child,
	};
	uint64_t all = ~0ull, mask;
	int cancel_state;
	long pid;

	if (pidfd) {
		request.flags |= CLONE_PIDFD;
		request.pidfd = &result->pidfd;
		plan->child.pidfd = &result->pidfd;
	}
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	/* A handler that ran in the child would run on this memory: not one of the 64 may come through. */
	sys_sigprocmask(SIG_SETMASK, &all, &mask);
	pid = clone_best(&plan->child, &request);
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	pthread_setcancelstate(cancel_state, &cancel_state);
	if (pid < 0) {
		/* With a pidfd, a full table of descriptors is found at clone. */
		result->step = pid == -EMFILE || pid == -ENFILE ? ODF_STEP_PIDFD : ODF_STEP_CLONE;
		result->error = (int)-pid;
		result->refused = not_this_way(pid);
		return;
	}
	engine_conclude(result, &plan->outcome, (pid_t)pid);
	if (result->pid < 0 && result->pidfd >= 0) {
		sys_close(result->pidfd);
		result->pidfd = -1;
	}
}
