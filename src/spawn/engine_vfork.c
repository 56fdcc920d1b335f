/* SPDX-License-Identifier: MIT
 *
 * clone(CLONE_VM | CLONE_VFORK): the child runs on this memory, on a stack of its own, while the calling thread is
 * held. The code that runs in the child is in child.c and make.c, with the rules for it.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../sys/process_lock.h"
#include "../sys/syscall.h"
#include "make.h"

/* At a change of user or group id the kernel clears the dumpable mark of the memory, so that the new user cannot trace
 * the process. As the memory is shared, the caller loses the mark too. It is restored when no child runs on this memory
 * with other ids, by the last such call. No call waits for another's exec, which the new user can delay at will. */
static struct {
	struct process_lock lock; /* held for a few instructions, with all signals blocked */
	long process;             /* to which the rest belongs: a forked child starts with none */
	unsigned under_way;
	int before;
} changing_ids;

bool engine_changes_ids(const struct child_plan *child)
{
	/* a user namespace brings capabilities */
	return (child->flags & (ODF_SPAWN_UID | ODF_SPAWN_GID)) || child->namespace_count > 0;
}

static void dumpable_hold(const struct child_plan *child)
{
	long self = sys_call0(SYS_getpid);

	if (!engine_changes_ids(child))
		return;
	process_lock_wait(&changing_ids.lock);
	if (changing_ids.process != self) {
		changing_ids.process = self;
		changing_ids.under_way = 0;
	}
	if (changing_ids.under_way++ == 0)
		changing_ids.before = (int)sys_call1(SYS_prctl, PR_GET_DUMPABLE);
	process_lock_release(&changing_ids.lock);
}

static void dumpable_release(const struct child_plan *child)
{
	if (!engine_changes_ids(child))
		return;
	process_lock_wait(&changing_ids.lock);
	/* Cannot fail for 1. It cannot be told whether another thread of the program has cleared the mark meanwhile. */
	if (--changing_ids.under_way == 0 && changing_ids.before == 1 && sys_call1(SYS_prctl, PR_GET_DUMPABLE) != 1)
		(void)sys_call2(SYS_prctl, PR_SET_DUMPABLE, 1);
	process_lock_release(&changing_ids.lock);
}

/* A go-between that was killed leaves its child, which may still run on this memory. Waits until that has let go of it,
 * as the caller is about to use it. */
static void outlive(struct plan *plan, const struct clone_request *inner)
{
	int alive;

	while ((alive = *(volatile int *)&plan->alive) > 0)
		(void)sys_call4(SYS_futex, &plan->alive, FUTEX_WAIT, alive, NULL);
	/* With a pidfd, clone (unlike clone3) has no room for `alive`: it is not known whether the child runs on. */
	plan->in_use = inner->flags & CLONE_PIDFD;
}

/* Makes the child by a go-between, which gets the lower half of the stack. The go-between has no exit signal: it sends
 * no SIGCHLD, and only a wait of the caller with __WCLONE or __WALL finds it. */
void engine_detach(struct plan *plan, const struct clone_request *inner, struct result *result)
{
	size_t half = plan->stack_size / 2;
	struct detachment detachment = { .child = &plan->child, .request = *inner, .result = result };
	struct clone_request outer = {
		.flags = CLONE_VM | CLONE_VFORK | (inner->flags & CLONE_PIDFD ? CLONE_FILES : 0),
		.stack = plan->stack,
		.stack_size = half,
		.function = make_detached,
		.argument = &detachment,
	};
	struct child_plan ignored = { .cgroup_fd = -1 };
	long pid;

	detachment.request.stack = (char *)plan->stack + half;
	detachment.request.stack_size = plan->stack_size - half;
	detachment.request.alive = &plan->alive;
	pid = make_sharing(&ignored, &outer);
	if (pid < 0) {
		make_failed(result, pid);
		return;
	}
	while (sys_call4(SYS_wait4, pid, NULL, __WCLONE, NULL) == -EINTR)
		;
	if (result->pid < 0 && result->error == 0) { /* it was killed; the state of its child is not known */
		outlive(plan, inner);
		result->step = ODF_STEP_CLONE;
		result->error = ECHILD;
	}
}

static void run_as_own(struct plan *plan, struct clone_request *request, struct result *result)
{
	long pid = make_sharing(&plan->child, request);

	if (pid < 0)
		make_failed(result, pid);
	else
		engine_conclude(result, &plan->outcome, (pid_t)pid);
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

	if (pidfd) {
		request.flags |= CLONE_PIDFD;
		request.pidfd = &result->pidfd;
		plan->child.pidfd = &result->pidfd;
	}
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	/* A signal handler in the child would run on this memory: all 64 signals are blocked. */
	sys_sigprocmask(SIG_SETMASK, &all, &mask);
	plan_inherit_mask(plan, mask);
	dumpable_hold(&plan->child);
	if (plan->child.flags & ODF_SPAWN_DETACH)
		engine_detach(plan, &request, result);
	else
		run_as_own(plan, &request, result);
	dumpable_release(&plan->child);
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	pthread_setcancelstate(cancel_state, &cancel_state);
	/* Only a process that does not share its memory may join a time namespace. */
	if (result->step == ODF_STEP_NAMESPACE && result->error == EUSERS)
		result->refused = true;
	if (result->pid < 0 && result->pidfd >= 0) {
		sys_close(result->pidfd);
		result->pidfd = -1;
	}
}
