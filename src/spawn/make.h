/* SPDX-License-Identifier: MIT
 *
 * Makes a child that shares its maker's memory. The maker is the caller, or a go-between that ends at once, so that the
 * caller does not have to reap the child.
 */
#ifndef ODF_SPAWN_MAKE_H
#define ODF_SPAWN_MAKE_H

#include "../sys/clone.h"
#include "engine.h"

/* By clone3 if that works, else by clone. Returns the pid, or minus an errno value. `request` has CLONE_VM, as a rule
 * CLONE_VFORK, and what else is wanted. Notes in `child` what the kernel has done at clone. */
long make_sharing(struct child_plan *child, struct clone_request *request);

/* Sets the result for a negative value from make_sharing. */
void make_failed(struct result *result, long error);

/* The go-between's function, and its argument. It shares the caller's memory. If a pidfd is wanted, it shares the
 * descriptor table too, so that the pidfd is the caller's. */
struct detachment {
	struct child_plan *child;
	struct clone_request request;
	struct result *result; /* the go-between fills it */
};
int make_detached(void *detachment);

/* Makes the child by a go-between. Without CLONE_VFORK the child may not have executed the program when this returns.
 * The caller has blocked all signals. */
void engine_detach(struct plan *plan, const struct clone_request *inner, struct result *result);
#endif
