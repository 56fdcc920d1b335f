/* SPDX-License-Identifier: MIT
 *
 * A checked request, and the plan made of it: all memory in one block, which also has the child's stack.
 */
#ifndef ODF_SPAWN_PLAN_H
#define ODF_SPAWN_PLAN_H

#include "child.h"

/* The caller's arguments, after structure_read. */
struct request {
	const char *file;
	char *const *argv;
	char *const *envp; /* NULL: the process's environment at the time of the plan */
	odf_spawn_options options; /* what it asks for has been looked up or made: user_groups, pipes */
};

struct plan {
	/* The block's, from its mapping to its end; all else is the use's that is made of it, and zero before. */
	void *block;
	size_t block_size;
	void *stack; /* lowest usable address; a guard page lies below */
	size_t stack_size;

	/* The request's: set before there is a child, but for a few members of `child` that an attempt sets. */
	struct child_plan child;
	size_t spare_count;
	void *room; /* the rest of the block, for what the plan borrows */
	size_t room_size;
	void *extra; /* and a mapping for more than that; NULL: none */
	size_t extra_size;

	/* An attempt's, by one engine: plan_restart sets them anew. The child writes the first, the kernel the next
	 * two, also when the engine has returned. */
	struct child_outcome outcome; /* where child.outcome points unless an engine has shared memory for it */
	int alive;   /* see clone_request */
	int pidfd;   /* of a child that does not hold its maker; -1: none */
	bool flying; /* a child may still run here, and will let go (flight.h) */

	/* After the last attempt. */
	bool in_use; /* a child may still be running here: never to be used again */
	struct plan *next; /* flight.c's */
};

/* What the engine, which blocks all signals around the making of the child, found the caller's mask to be: the
 * child's, unless the request names another. */
static inline void plan_inherit_mask(struct plan *plan, uint64_t mask)
{
	if (!(plan->child.flags & ODF_SPAWN_SIGMASK))
		plan->child.sigmask = mask;
}

/* 0, or the errno value with which the request is refused, *index the action or -1. From then on a descriptor that
 * the options do not ask for is -1. */
int request_check(struct request *request, int *index);

/* All that the plan borrows will be copied before a child is made of it (engine_pool.c), or the child has a copy. */
static inline bool request_is_packed(const struct request *request)
{
	const odf_spawn_options *options = &request->options;

	return (options->flags & ODF_SPAWN_NO_WAIT) && options->pre_exec == NULL &&
	       (options->allow == 0 || (options->allow & ODF_ALLOW(ODF_STRATEGY_POOL)));
}

/* 0 or ENOMEM (ENAMETOOLONG for a name that no directory can have). The plan borrows from the request and is freed with
 * plan_free. */
int plan_make(struct plan **plan, const struct request *request);
void plan_free(struct plan *plan);

/* Takes back what an engine has noted in the plan, for the first engine or the next. */
void plan_restart(struct plan *plan);
#endif
