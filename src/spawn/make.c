/* SPDX-License-Identifier: MIT
 *
 * RUNS BETWEEN CLONE AND EXEC as well as in the caller: see child.c for the rules, which are kept here too.
 */
#include "make.h"

#include <errno.h>

#include "child_cgroup.h"

/* ENOSYS and EPERM come from filters as well as from kernels, EINVAL and E2BIG from kernels that lack a flag. The
 * kernel finds all of them before it does anything, so another way can be tried. */
static bool not_this_way(long error)
{
	return error == -ENOSYS || error == -EPERM || error == -EINVAL || error == -E2BIG;
}

/* A clone that fails late has stored the number of a descriptor, and closed it again: it must not pass for a pidfd. */
static long attempt(long (*clone_by)(const struct clone_request *), const struct clone_request *request)
{
	long pid = clone_by(request);

	if (pid < 0 && request->pidfd != NULL)
		*request->pidfd = -1;
	return pid;
}

/* The flags that only clone3 takes. */
static uint64_t born_with(uint64_t flags)
{
	return (flags & ODF_SPAWN_BORN_NO_NEW_PRIVS ? CLONE_NNP : 0) |
	       (flags & (ODF_SPAWN_AUTOREAP | ODF_SPAWN_KILL_WITH_PIDFD) ? CLONE_AUTOREAP : 0) |
	       (flags & ODF_SPAWN_KILL_WITH_PIDFD ? CLONE_PIDFD_AUTOKILL : 0);
}

/* EAGAIN and ENOMEM mean a limit, the same for every way. If the kernel cannot put the child into the cgroup, or that
 * is frozen, the child tries itself, so that the error has its step. */
long make_sharing(struct child_plan *child, struct clone_request *request)
{
	uint64_t plain = request->flags, born = born_with(child->flags);
	long pid;

	if (born & CLONE_AUTOREAP)
		request->exit_signal = 0; /* the kernel refuses others with this flag */
	request->flags = plain | CLONE_CLEAR_SIGHAND | born;
	child->handlers_cleared = true;
	if (child->cgroup_fd >= 0 && !child_cgroup_is_frozen(child->cgroup_fd)) {
		request->flags |= CLONE_INTO_CGROUP;
		request->cgroup_fd = child->cgroup_fd;
		child->in_cgroup = true;
		pid = attempt(clone3_child, request);
		if (pid >= 0 || pid == -EAGAIN || pid == -ENOMEM || pid == -EMFILE || pid == -ENFILE)
			return pid;
		request->flags &= ~CLONE_INTO_CGROUP;
		child->in_cgroup = false;
	}
	pid = attempt(clone3_child, request);
	if (!not_this_way(pid))
		return pid;
	if (born != 0) /* EPERM: the caller does not meet the condition of CLONE_PIDFD_AUTOKILL */
		return pid == -EPERM ? pid : -ENOTSUP;
	request->flags = plain;
	/* clone has one argument for both. Without `alive` it is not known when the child lets go: hold the maker. */
	if (request->alive != NULL && request->pidfd != NULL)
		request->flags |= CLONE_VFORK;
	child->handlers_cleared = false;
	return attempt(clone_child, request);
}

void make_failed(struct result *result, long error)
{
	/* At clone only a pidfd needs a descriptor. */
	result->step = error == -EMFILE || error == -ENFILE ? ODF_STEP_PIDFD : ODF_STEP_CLONE;
	result->error = (int)-error;
	result->refused = not_this_way(error);
}

int make_detached(void *argument)
{
	struct detachment *detachment = argument;
	struct result *result = detachment->result;
	long pid = make_sharing(detachment->child, &detachment->request);

	if (pid >= 0 && !(detachment->request.flags & CLONE_VFORK)) {
		result->pid = (pid_t)pid;
		return 0;
	}
	if (pid >= 0) {
		engine_conclude(result, detachment->child->outcome, (pid_t)pid);
		return 0;
	}
	make_failed(result, pid);
	return 0;
}
