/* SPDX-License-Identifier: MIT
 *
 * Makes plans. Two passes over the same list of pieces: the first measures, the second places. The block is a guard
 * page, the child's stack, the plan, its arrays and its strings.
 */
#include "plan.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../sys/syscall.h"
#include "arena.h"
#include "block.h"
#include "environment.h"
#include "fd_map.h"
#include "flight.h"

/* The child's frames are small and of fixed size: the candidates are computed here, and no argument vector for a shell
 * is ever built. The kernel does not use this stack at exec. */
enum { STACK_SIZE = 32768 };

/* A candidate for each directory of PATH; an empty one is the current directory. A path that would be too long is left
 * out: it cannot exist. */
static size_t place_candidates(struct arena *arena, const char *path, const char *file, const char **list)
{
	size_t count = 0, name = strlen(file);

	for (const char *directory = path;;) {
		size_t length = (size_t)(strchrnul(directory, ':') - directory);
		if (length + 1 + name < PATH_MAX) {
			char *candidate = carve(arena, length + 1 + name + 1);
			if (candidate != NULL) {
				size_t slash = length > 0;
				memcpy(candidate, directory, length);
				candidate[length] = '/';
				memcpy(candidate + length + slash, file, name + 1);
				list[count] = candidate;
			}
			count++;
		}
		if (directory[length] == '\0')
			return count;
		directory += length + 1;
	}
}

static size_t count_directories(const char *path)
{
	size_t count = 1;

	for (; *path != '\0'; path++)
		count += *path == ':';
	return count;
}

static void place_file(struct arena *arena, struct child_plan *child, const struct request *request, const char *path)
{
	const char **list = carve(arena, (path == NULL ? 1 : count_directories(path)) * sizeof *list);
	size_t count = 1;

	if (path != NULL)
		count = place_candidates(arena, path, request->file, list);
	else if (list != NULL)
		list[0] = request->file;
	if (child != NULL) {
		child->candidates = list;
		child->candidate_count = count;
		child->searched = path != NULL;
	}
}

static void place_environment(struct arena *arena, struct child_plan *child, const struct request *request,
			      const struct environment *environment)
{
	char **array = environment->in_place ? NULL
		: carve(arena, environment_room(environment, request) * sizeof *array);

	if (child == NULL)
		return;
	child->envp = environment->base;
	if (array != NULL) {
		environment_write(environment, request, array);
		child->envp = array;
	}
}

static void place_limits(struct arena *arena, struct child_plan *child, const odf_spawn_options *options)
{
	struct limit *limits = carve(arena, options->rlimit_count * sizeof *limits);

	if (child == NULL)
		return;
	for (size_t i = 0; i < options->rlimit_count; i++) {
		const struct rlimit *limit = &options->rlimits[i].limit;
		limits[i].resource = options->rlimits[i].resource;
		limits[i].soft_hard[0] = limit->rlim_cur == RLIM_INFINITY ? ~0ull : limit->rlim_cur;
		limits[i].soft_hard[1] = limit->rlim_max == RLIM_INFINITY ? ~0ull : limit->rlim_max;
	}
	child->limits = limits;
	child->limit_count = options->rlimit_count;
}

static void place_descriptors(struct arena *arena, struct plan *plan, const odf_spawn_options *options)
{
	size_t count = options->fd_count;
	struct fd_map map = {
		.ops = carve(arena, FD_MAP_OPS(count) * sizeof *map.ops),
		.slots = carve(arena, count * sizeof *map.slots),
		.ready = carve(arena, count * sizeof *map.ready),
		.named = carve(arena, FD_MAP_NAMED(count) * sizeof *map.named),
		.others = carve(arena, FD_MAP_RANGES(count) * sizeof *map.others),
		.kept = { [KEPT_EXEC] = { .fd = options->exec_fd }, [KEPT_TTY] = { .fd = options->tty_fd } },
	};
	int *spares = carve(arena, FD_MAP_SPARES(count) * sizeof *spares);

	if (plan == NULL)
		return;
	fd_map_build(&map, options->fds, count);
	plan->spare_count = map.spare_count;
	plan->child.ops = map.ops;
	plan->child.op_count = map.op_count;
	plan->child.named = map.named;
	plan->child.named_count = map.named_count;
	plan->child.others = map.others;
	plan->child.other_count = map.other_count;
	plan->child.spares = spares;
	memcpy(plan->child.kept, map.kept, sizeof map.kept);
}

static void place_all(struct arena *arena, struct plan *plan, const struct request *request,
		      const struct environment *environment)
{
	struct child_plan *child = plan == NULL ? NULL : &plan->child;

	place_descriptors(arena, plan, &request->options);
	place_limits(arena, child, &request->options);
	place_environment(arena, child, request, environment);
	place_file(arena, child, request, environment->path);
}

static void copy_options(struct child_plan *child, const odf_spawn_options *options)
{
	child->flags = options->flags;
	child->forgive = options->forgive;
	child->cwd = options->cwd;
	child->cwd_fd = options->cwd_fd;
	child->cgroup_fd = options->cgroup_fd;
	child->root = options->root;
	child->namespaces = options->namespaces;
	child->namespace_count = options->namespace_count;
	child->sched_attr = options->sched_attr;
	child->ambient = options->ambient;
	child->ioprio = options->ioprio;
	child->oom_score_adj = options->oom_score_adj;
	memcpy(&child->sigdefault, &options->sigdefault, sizeof child->sigdefault); /* its first 64 are the kernel's */
	child->pgroup = options->pgroup;
	child->umask = options->umask;
	child->nice = options->nice;
	child->sched_policy = options->sched_policy;
	child->sched_param = options->sched_param;
	child->affinity = options->affinity;
	child->affinity_size = options->affinity_size;
	child->uid = options->uid;
	child->gid = options->gid;
	child->groups = options->groups;
	child->group_count = options->group_count;
	child->parent_death_signal = options->parent_death_signal;
	child->seccomp = options->seccomp;
	child->pre_exec = options->pre_exec;
	child->pre_exec_arg = options->pre_exec_arg;
	child->busy_retry_ms = options->busy_retry_ms;
	if (options->parent_death_signal != 0)
		child->parent = getpid();
	if (options->flags & ODF_SPAWN_SIGMASK)
		memcpy(&child->sigmask, &options->sigmask, sizeof child->sigmask);
}

enum { KEPT_SIZE = 131072, ROOM = 24576 };

/* One block is kept between spawns, since mapping, touching and unmapping it takes a good part of a spawn's own work. A
 * thread that uses it takes it out; a second thread maps another. A forked child inherits it, unless a thread was using
 * it (then the copy is lost). Blocks that children of engine_pool.c have let go of are reused too (flight.c). */
static _Atomic(struct plan *) kept;

static struct plan *take_kept(size_t size)
{
	struct plan *plan = atomic_exchange_explicit(&kept, NULL, memory_order_acquire);

	if (plan != NULL && plan->block_size < size) {
		flight_drop(plan);
		plan = NULL;
	}
	if (plan == NULL)
		return flight_take(size);
	flight_tidy();
	return plan;
}

static struct plan *map_block(size_t size, size_t page, size_t stack)
{
	char *block = block_map(size, MAP_STACK);
	struct plan *plan;

	if (block == NULL)
		return NULL;
	if (sys_call3(SYS_mprotect, block, page, PROT_NONE) < 0) {
		block_unmap(block, size);
		return NULL;
	}
	plan = (struct plan *)(void *)(block + page + stack);
	plan->block = block;
	plan->block_size = size;
	plan->stack = block + page;
	plan->stack_size = stack;
	return plan;
}

/* Takes a block for a plan of `used` bytes with its arrays, and for copies of what it borrows, if there are to be any.
 * *plan is zero except the members that describe the block and its room. */
static struct plan *take_block(size_t used, bool packed)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), stack = (STACK_SIZE + page - 1) / page * page;
	size_t size = page + stack + (used + (packed ? ROOM : 0) + page - 1) / page * page;
	struct plan *plan = take_kept(size);

	if (plan == NULL)
		plan = map_block(size, page, stack);
	if (plan == NULL)
		return NULL;
	used = (used + 15) & ~(size_t)15;
	*plan = (struct plan){ .block = plan->block,
			       .block_size = plan->block_size,
			       .stack = plan->stack,
			       .stack_size = plan->stack_size,
			       .room = (char *)plan + used,
			       .room_size = plan->block_size - page - stack - used };
	return plan;
}

int plan_make(struct plan **result, const struct request *request)
{
	struct environment environment;
	struct arena arena = { 0 };
	struct plan *plan = NULL;
	int error = environment_take(&environment, request);

	if (error == 0 && environment.path != NULL && strlen(request->file) > NAME_MAX)
		error = ENAMETOOLONG;
	if (error == 0) {
		carve(&arena, sizeof *plan);
		place_all(&arena, NULL, request, &environment);
		plan = take_block(arena.used, request_is_packed(request));
		error = plan == NULL ? ENOMEM : 0;
	}
	if (error == 0) {
		arena = (struct arena){ .base = (char *)plan };
		carve(&arena, sizeof *plan);
		copy_options(&plan->child, &request->options);
		place_all(&arena, plan, request, &environment);
		plan->child.argv = request->argv;
	}
	environment_drop(&environment);
	*result = plan;
	return error;
}

void plan_restart(struct plan *plan)
{
	plan->outcome = (struct child_outcome){ .step = ODF_STEP_CLONE, .index = -1 };
	plan->child.outcome = &plan->outcome;
	plan->child.pidfd = NULL;
	plan->child.handlers_cleared = false;
	plan->child.in_cgroup = false;
	plan->alive = 0;
	plan->pidfd = -1;
	plan->flying = false;
}

void plan_free(struct plan *plan)
{
	struct plan *none = NULL;

	if (plan->in_use)
		return;
	if (plan->flying && !flight_has_landed(plan)) {
		flight_add(plan);
		return;
	}
	if (plan->block_size > KEPT_SIZE || plan->extra != NULL ||
	    !atomic_compare_exchange_strong_explicit(&kept, &none, plan, memory_order_release, memory_order_relaxed))
		flight_drop(plan);
}
