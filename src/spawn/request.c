/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "../strategy/strategy.h"
#include "environment.h"
#include "fd_map.h"
#include "plan.h"
#include "pooled.h"

#define ALL_FLAGS (0x7fffull | 0x7ffff0000ull)
#define FORGIVABLE \
	(ODF_FORGIVE(ODF_STEP_NICE) | ODF_FORGIVE(ODF_STEP_SCHED) | ODF_FORGIVE(ODF_STEP_AFFINITY) | \
	 ODF_FORGIVE(ODF_STEP_RLIMIT) | ODF_FORGIVE(ODF_STEP_CGROUP) | ODF_FORGIVE(ODF_STEP_IOPRIO) | \
	 ODF_FORGIVE(ODF_STEP_OOM_SCORE))

/* Without its flag, 0 means no descriptor, as a structure of zeros asks for nothing. False: not a valid number. */
static bool take_descriptor(uint64_t flags, uint64_t flag, int *fd)
{
	if (flags & flag)
		return *fd >= 0;
	if (*fd == 0)
		*fd = -1;
	return *fd >= -1;
}

static bool take_descriptors(odf_spawn_options *o)
{
	return take_descriptor(o->flags, ODF_SPAWN_CWD_FD, &o->cwd_fd) &&
	       take_descriptor(o->flags, ODF_SPAWN_EXEC_FD, &o->exec_fd) &&
	       take_descriptor(o->flags, ODF_SPAWN_CGROUP_FD, &o->cgroup_fd) &&
	       take_descriptor(o->flags, ODF_SPAWN_TTY_FD, &o->tty_fd);
}

static bool arguments_fit(const struct request *request)
{
	const odf_spawn_options *o = &request->options;

	if (o->exec_fd == -1 && request->file == NULL)
		return false;
	if (o->exec_fd >= 0 && (o->flags & (ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SEARCH_CHILD_PATH)))
		return false;
	return request->argv != NULL && request->argv[0] != NULL;
}

static bool both(uint64_t flags, uint64_t a, uint64_t b)
{
	return (flags & a) && (flags & b);
}

/* A change of user must say what becomes of the supplementary groups, and only one way may be chosen. */
static bool groups_are_chosen(uint64_t flags)
{
	uint64_t chosen = flags & (ODF_SPAWN_GROUPS | ODF_SPAWN_USER_GROUPS | ODF_SPAWN_KEEP_GROUPS);

	if ((flags & ODF_SPAWN_UID) ? chosen == 0 : (chosen & ~ODF_SPAWN_GROUPS) != 0)
		return false;
	return (chosen & (chosen - 1)) == 0;
}

static bool streams_fit(const odf_spawn_options *o)
{
	return !both(o->flags, ODF_SPAWN_PIPE_STDERR, ODF_SPAWN_STDERR_TO_STDOUT) &&
		(o->pipes != NULL || !(o->flags & ODF_SPAWN_PIPES));
}

/* False if an action names a number for which a stream's action is made. */
static int check_streams(const odf_spawn_options *o, int *index)
{
	static const uint64_t taken[3] = { ODF_SPAWN_PIPE_STDIN, ODF_SPAWN_PIPE_STDOUT,
					  ODF_SPAWN_PIPE_STDERR | ODF_SPAWN_STDERR_TO_STDOUT };

	for (size_t i = 0; i < o->fd_count; i++) {
		if (o->fds[i].fd >= 0 && o->fds[i].fd <= 2 && (o->flags & taken[o->fds[i].fd])) {
			*index = (int)i;
			return EINVAL;
		}
	}
	return 0;
}

static bool options_fit(const odf_spawn_options *o)
{
	if ((o->flags & ~ALL_FLAGS) || (o->allow & ~STRATEGY_SPAWN_KINDS) || (o->forgive & ~FORGIVABLE))
		return false;
	if ((o->flags & ODF_SPAWN_SETSID) && (o->flags & ODF_SPAWN_SETPGROUP))
		return false;
	if ((o->flags & ODF_SPAWN_SETPGROUP) && o->pgroup < 0)
		return false;
	if ((o->flags & ODF_SPAWN_NICE) && (o->nice < -20 || o->nice > 19))
		return false;
	if ((o->fds == NULL && o->fd_count > 0) || (o->rlimits == NULL && o->rlimit_count > 0) ||
	    (o->env_edits == NULL && o->env_edit_count > 0) || (o->namespaces == NULL && o->namespace_count > 0))
		return false;
	if (both(o->flags, ODF_SPAWN_SEARCH_PATH, ODF_SPAWN_SEARCH_CHILD_PATH) ||
	    (o->sched_attr != NULL && (o->flags & ODF_SPAWN_SCHED)))
		return false;
	if (o->tty_fd >= 0 && !(o->flags & ODF_SPAWN_FOREGROUND))
		return false;
	if ((o->flags & ODF_SPAWN_OOM_SCORE_ADJ) && (o->oom_score_adj < -1000 || o->oom_score_adj > 1000))
		return false;
	if (!groups_are_chosen(o->flags) || !streams_fit(o))
		return false;
	/* The kernel takes the id -1 for "unchanged", and a failed look-up must not mean that. It counts groups and
	 * bytes in 32 bits. */
	if (((o->flags & ODF_SPAWN_UID) && o->uid == (uid_t)-1) || ((o->flags & ODF_SPAWN_GID) && o->gid == (gid_t)-1))
		return false;
	if ((o->flags & ODF_SPAWN_GROUPS) && ((o->groups == NULL && o->group_count > 0) || o->group_count > INT_MAX))
		return false;
	if (o->affinity != NULL && o->affinity_size > UINT_MAX)
		return false;
	if ((o->flags & ODF_SPAWN_DETACH) && o->parent_death_signal != 0)
		return false;
	if ((o->flags & ODF_SPAWN_KILL_WITH_PIDFD) && (o->pidfd == NULL || (o->flags & ODF_SPAWN_DETACH)))
		return false;
	if ((o->flags & ODF_SPAWN_NO_WAIT) ? o->pool == NULL : o->launch != NULL)
		return false;
	return o->parent_death_signal >= 0 && o->parent_death_signal <= 64;
}

int request_check(struct request *request, int *index)
{
	odf_spawn_options *o = &request->options;
	int few[32], *sorted = few, error;

	*index = -1;
	if (!take_descriptors(o) || !arguments_fit(request) || !options_fit(o))
		return EINVAL;
	if (!environment_edits_fit(o, index))
		return EINVAL;
	if (o->pool != NULL) {
		error = spawn_pool_check((const struct spawn_pool *)o->pool);
		if (error != 0)
			return error;
	}
	for (size_t i = 0; i < o->namespace_count; i++) {
		if (o->namespaces[i].fd < 0) {
			*index = (int)i;
			return EINVAL;
		}
	}
	if (o->flags & ODF_SPAWN_GROUPS) {
		for (size_t i = 0; i < o->group_count; i++) {
			if (o->groups[i] == (gid_t)-1) {
				*index = (int)i;
				return EINVAL;
			}
		}
	}
	if (o->fd_count == 0)
		return 0;
	if (o->fd_count > sizeof few / sizeof *few) {
		sorted = reallocarray(NULL, o->fd_count, sizeof *sorted);
		if (sorted == NULL)
			return ENOMEM;
	}
	error = fd_map_check(o->fds, o->fd_count, sorted, index);
	if (sorted != few)
		free(sorted);
	return error == 0 ? check_streams(o, index) : error;
}
