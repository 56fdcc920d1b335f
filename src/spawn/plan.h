/* SPDX-License-Identifier: MIT
 *
 * A checked request, and the plan made from it: all memory in one block, the child's stack included.
 */
#ifndef ODF_SPAWN_PLAN_H
#define ODF_SPAWN_PLAN_H

#include "child.h"

/* The caller's arguments, after structure_read. */
struct request {
	const char *file;
	char *const *argv;
	char *const *envp; /* NULL: the process's environment when the plan is made */
	odf_spawn_options options; /* groups of the user and pipes are already in it */
};

struct plan {
	/* These belong to the block, for as long as it is mapped. The rest belongs to one use, and is zero before
	 * it. */
	void *block;
	size_t block_size;
	void *stack; /* lowest usable address; below it is a guard page */
	size_t stack_size;

	/* From the request: set before there is a child, except some members of `child` that each attempt sets. */
	struct child_plan child;
	size_t spare_count;
	void *room; /* the rest of the block, for copies of what the plan borrows */
	size_t room_size;
	void *extra; /* a mapping for copies that do not fit there; NULL: none */
	size_t extra_size;

	/* Of one attempt by one engine: plan_restart resets them. The child writes the first and the kernel the next
	 * two, even after the engine has returned. */
	struct child_outcome outcome; /* target of child.outcome, unless an engine has shared memory for it */
	int alive;   /* see clone_request */
	int pidfd;   /* of a child that does not hold its maker; -1: none */
	bool flying; /* a child may still run on this block, and will let go of it (flight.h) */

	/* After the last attempt: */
	bool in_use; /* a child may still run on this block: never reuse it */
	struct plan *next; /* for flight.c */
};

/* An engine has blocked all signals around the clone. `mask` is from before, and the child's, unless the request has
 * one. */
static inline void plan_inherit_mask(struct plan *plan, uint64_t mask)
{
	if (!(plan->child.flags & ODF_SPAWN_SIGMASK))
		plan->child.sigmask = mask;
}

/* 0, or the errno value with which the request is refused, and *index the action or -1. Sets the descriptors that the
 * options do not use to -1. */
int request_check(struct request *request, int *index);

/* Whether all that the plan borrows is copied before the child is made (engine_pool.c), or the child gets a copy of the
 * whole memory. */
static inline bool request_is_packed(const struct request *request)
{
	const odf_spawn_options *options = &request->options;

	return (options->flags & ODF_SPAWN_NO_WAIT) && options->pre_exec == NULL &&
	       (options->allow == 0 || (options->allow & ODF_ALLOW(ODF_STRATEGY_POOL)));
}

/* 0 or ENOMEM (ENAMETOOLONG: no directory can have a file of this name). The plan borrows from the request. Free it
 * with plan_free. */
int plan_make(struct plan **plan, const struct request *request);
void plan_free(struct plan *plan);

/* Resets what an engine has noted in the plan, for the first or the next engine. */
void plan_restart(struct plan *plan);
#endif
