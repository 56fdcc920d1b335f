/* SPDX-License-Identifier: MIT
 *
 * libc's posix_spawn, for requests that it can express in full. It does not report which step failed.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "../libc/libc.h"
#include "engine.h"

#define LIBC_FLAGS \
	(ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SETSID | ODF_SPAWN_SETPGROUP | ODF_SPAWN_SIGMASK | \
	 ODF_SPAWN_RESET_SIGNALS | ODF_SPAWN_CLOSE_OTHER_FDS | ODF_SPAWN_CWD_FD | ODF_SPAWN_SIGDEFAULT | \
	 ODF_SPAWN_PIPES | ODF_SPAWN_STDERR_TO_STDOUT)

/* libc closes a number before it opens a file there, which matters if the path depends on open descriptors (/dev/fd).
 * It takes the open flags as they are, close-on-exec included. And it refuses to close numbers beyond the limit.
 * /dev/null does not depend on any of that. */
static bool action_differs(const odf_fd_action *action)
{
	struct rlimit limit;

	if (action->kind == ODF_FD_KIND_CLOSE)
		return getrlimit(RLIMIT_NOFILE, &limit) != 0 || (rlim_t)action->fd >= limit.rlim_cur;
	return action->kind == ODF_FD_KIND_OPEN || action->kind == ODF_FD_KIND_OPEN_AT;
}

odf_reason engine_posix_spawn_lacks(const struct plan *plan, const struct request *request)
{
	const odf_spawn_options *o = &request->options;
	bool lacks = (o->flags & ~LIBC_FLAGS) || o->pidfd != NULL || o->exec_fd >= 0 || o->rlimit_count > 0 ||
		     o->affinity != NULL || o->parent_death_signal != 0 || o->cgroup_fd >= 0 || o->seccomp != NULL ||
		     o->pre_exec != NULL || o->busy_retry_ms > 0 || o->root != NULL || o->namespace_count > 0 ||
		     o->sched_attr != NULL || plan->spare_count > 0;

#if !HAVE_SPAWN_CHDIR /* since glibc 2.29, as is that a descriptor duplicated to itself stays open */
	lacks = lacks || o->cwd != NULL || o->cwd_fd >= 0;
	for (size_t i = 0; i < plan->child.op_count; i++)
		lacks = lacks || plan->child.ops[i].kind == FD_OP_INHERIT;
#endif
#if HAVE_SPAWN_CLOSEFROM
	/* It closes all from one number on, so there must be no kept descriptor above a gap. */
	lacks = lacks || ((o->flags & ODF_SPAWN_CLOSE_OTHER_FDS) && plan->child.other_count > 1);
#else
	lacks = lacks || (o->flags & ODF_SPAWN_CLOSE_OTHER_FDS);
#endif
#ifndef POSIX_SPAWN_SETSID
	lacks = lacks || (o->flags & ODF_SPAWN_SETSID);
#endif
	for (size_t i = 0; i < o->fd_count && !lacks; i++)
		lacks = action_differs(&o->fds[i]);
	return lacks ? ODF_REASON_LIBC_NO_OPTION : ODF_REASON_NONE;
}

static int add_op(posix_spawn_file_actions_t *actions, const struct fd_op *op)
{
	switch (op->kind) {
	case FD_OP_DUP:
		return posix_spawn_file_actions_adddup2(actions, op->from, op->to);
	case FD_OP_INHERIT:
		return posix_spawn_file_actions_adddup2(actions, op->to, op->to);
	case FD_OP_OPEN:
		return posix_spawn_file_actions_addopen(actions, op->to, op->path, op->flags, op->mode);
	case FD_OP_CLOSE:
		return posix_spawn_file_actions_addclose(actions, op->to);
	default:
		return EINVAL; /* spare numbers: refused by engine_posix_spawn_lacks */
	}
}

static int add_actions(posix_spawn_file_actions_t *actions, const struct plan *plan, const odf_spawn_options *options)
{
	int error = 0;

#if HAVE_SPAWN_CHDIR
	if (options->cwd_fd >= 0 && (options->cwd == NULL || options->cwd[0] != '/'))
		error = posix_spawn_file_actions_addfchdir_np(actions, options->cwd_fd);
	if (options->cwd != NULL && error == 0)
		error = posix_spawn_file_actions_addchdir_np(actions, options->cwd);
#endif
	for (size_t i = 0; i < plan->child.op_count && error == 0; i++)
		error = add_op(actions, &plan->child.ops[i]);
#if HAVE_SPAWN_CLOSEFROM
	if ((options->flags & ODF_SPAWN_CLOSE_OTHER_FDS) && error == 0)
		error = posix_spawn_file_actions_addclosefrom_np(actions, (int)plan->child.others[0].first);
#else
	(void)options;
#endif
	return error;
}

static int set_attributes(posix_spawnattr_t *attributes, const odf_spawn_options *options)
{
	short flags = 0;
	sigset_t every;
	int error = 0;

	if (options->flags & ODF_SPAWN_SETPGROUP) {
		flags |= POSIX_SPAWN_SETPGROUP;
		error = posix_spawnattr_setpgroup(attributes, options->pgroup);
	}
	if (options->flags & ODF_SPAWN_SIGMASK) {
		flags |= POSIX_SPAWN_SETSIGMASK;
		error = error != 0 ? error : posix_spawnattr_setsigmask(attributes, &options->sigmask);
	}
	if (options->flags & (ODF_SPAWN_RESET_SIGNALS | ODF_SPAWN_SIGDEFAULT)) {
		flags |= POSIX_SPAWN_SETSIGDEF;
		sigfillset(&every);
		error = error != 0 ? error
				   : posix_spawnattr_setsigdefault(attributes, options->flags & ODF_SPAWN_RESET_SIGNALS
								   ? &every : &options->sigdefault);
	}
#ifdef POSIX_SPAWN_SETSID
	if (options->flags & ODF_SPAWN_SETSID)
		flags |= POSIX_SPAWN_SETSID;
#endif
	return error != 0 ? error : posix_spawnattr_setflags(attributes, flags);
}

/* libc returns one error for all steps. If exec is the only step that can fail, it was exec, except that EAGAIN and
 * ENOMEM may also mean that no process could be made. */
static odf_step guess_step(const struct plan *plan, const odf_spawn_options *options, int error)
{
	bool only_exec = plan->child.op_count == 0 && options->cwd == NULL && options->cwd_fd < 0 &&
			 !(options->flags & (ODF_SPAWN_SETSID | ODF_SPAWN_SETPGROUP | ODF_SPAWN_CLOSE_OTHER_FDS));

	return only_exec && error != EAGAIN && error != ENOMEM ? ODF_STEP_EXEC : ODF_STEP_UNKNOWN;
}

void engine_posix_spawn(struct plan *plan, const struct request *request, struct result *result)
{
	const odf_spawn_options *options = &request->options;
	enum libc_spawn which = options->flags & ODF_SPAWN_SEARCH_PATH ? LIBC_SPAWN_PATH : LIBC_SPAWN;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int saved = errno, error;
	pid_t pid;

	error = posix_spawn_file_actions_init(&actions);
	if (error == 0) {
		error = posix_spawnattr_init(&attributes);
		if (error == 0) {
			error = add_actions(&actions, plan, options);
			if (error == 0)
				error = set_attributes(&attributes, options);
			if (error == 0)
				error = libc_posix_spawn(which, &pid, request->file, &actions, &attributes,
							 request->argv, (char *const *)plan->child.envp);
			posix_spawnattr_destroy(&attributes);
		}
		posix_spawn_file_actions_destroy(&actions);
	}
	errno = saved;
	if (error == 0) {
		/* libc reports success for a child that died before exec. */
		struct child_outcome outcome = { .step = ODF_STEP_EXEC, .index = -1 };
		engine_conclude(result, &outcome, pid);
		if (result->error != 0)
			result->step = ODF_STEP_UNKNOWN;
		return;
	}
	result->error = error;
	result->step = guess_step(plan, options, error);
	/* These can be a filter's answer to the clone. If it was EPERM from the program's own step, another engine
	 * tries once more and then names the step. Nothing that libc has done so far would affect that. */
	result->refused = error == ENOSYS || error == EPERM;
}
