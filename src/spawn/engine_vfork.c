/* SPDX-License-Identifier: MIT
 *
 * clone(CLONE_VM | CLONE_VFORK): the child runs on this memory, on a stack of its own, while the calling thread is held. What runs in the
 * child is child_entry and child_run, see child.c for the rules.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "../sys/clone.h"
#include "../sys/process_lock.h"
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

/* A change of user or group id makes the kernel withdraw the dumpable mark from the memory, so that the new user cannot trace the
 * process; and while it is shared, the memory is the caller's too. The caller's mark is put back once the child has memory of its own. One at a time:
 * else one would read what another has lost, or give the mark back while another's child still runs here as somebody else. */
static struct process_lock changing_ids;

static int dumpable_hold(const struct child_plan *child)
{
	if (!(child->flags & (ODF_SPAWN_UID | ODF_SPAWN_GID)))
		return -1;
	process_lock_wait(&changing_ids);
	return (int)sys_call1(SYS_prctl, PR_GET_DUMPABLE);
}

static void dumpable_release(int before)
{
	if (before < 0)
		return;
	/* Cannot fail for 1, and nothing else can have been lost. */
	if (before == 1 && sys_call1(SYS_prctl, PR_GET_DUMPABLE) != 1)
		(void)sys_call2(SYS_prctl, PR_SET_DUMPABLE, 1);
	process_lock_release(&changing_ids);
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
	int cancel_state, dumpable;
	long pid;

	if (pidfd) {
		request.flags |= CLONE_PIDFD;
		request.pidfd = &result->pidfd;
		plan->child.pidfd = &result->pidfd;
	}
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	dumpable = dumpable_hold(&plan->child);
	/* A handler that ran in the child would run on this memory: not one of the 64 may come through. */
	sys_sigprocmask(SIG_SETMASK, &all, &mask);
	plan_inherit_mask(plan, mask);
	pid = clone_best(&plan->child, &request);
	dumpable_release(dumpable);
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
