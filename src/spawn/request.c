/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "../strategy/strategy.h"
#include "fd_map.h"
#include "plan.h"

#define ALL_FLAGS 0x77fffull
#define FORGIVABLE                                                                                                          \
	(ODF_FORGIVE(ODF_STEP_NICE) | ODF_FORGIVE(ODF_STEP_SCHED) | ODF_FORGIVE(ODF_STEP_AFFINITY) | ODF_FORGIVE(ODF_STEP_RLIMIT) | \
	 ODF_FORGIVE(ODF_STEP_CGROUP))

/* Only 0 needs its flag, as a structure of zeros asks for nothing. False for a number that is none. */
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
	return take_descriptor(o->flags, ODF_SPAWN_CWD_FD, &o->cwd_fd) && take_descriptor(o->flags, ODF_SPAWN_EXEC_FD, &o->exec_fd) &&
	       take_descriptor(o->flags, ODF_SPAWN_CGROUP_FD, &o->cgroup_fd);
}

static bool arguments_fit(const struct request *request)
{
	const odf_spawn_options *o = &request->options;

	if (o->exec_fd == -1 && request->file == NULL)
		return false;
	if (o->exec_fd >= 0 && (o->flags & ODF_SPAWN_SEARCH_PATH))
		return false;
	return request->argv != NULL && request->argv[0] != NULL;
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
	if (o->cwd != NULL && o->cwd_fd >= 0)
		return false;
	if ((o->fds == NULL && o->fd_count > 0) || (o->rlimits == NULL && o->rlimit_count > 0))
		return false;
	if ((o->flags & ODF_SPAWN_GROUPS) && o->groups == NULL && o->group_count > 0)
		return false;
	if ((o->flags & ODF_SPAWN_DETACH) && o->parent_death_signal != 0)
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
	return error;
}
