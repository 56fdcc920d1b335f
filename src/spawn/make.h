/* SPDX-License-Identifier: MIT
 *
 * Making a child that shares its maker's memory: by the caller, or by a go-between that ends at once, so that nobody
 * has to reap the child.
 */
#ifndef ODF_SPAWN_MAKE_H
#define ODF_SPAWN_MAKE_H

#include "../sys/clone.h"
#include "engine.h"

/* By clone3 where it works, else by clone. The pid, or minus an errno value. `request` has CLONE_VM | CLONE_VFORK and
 * what else is wanted; what was done at once is noted in `child`. */
long make_sharing(struct child_plan *child, struct clone_request *request);

/* What minus an errno value from make_sharing means. */
void make_failed(struct result *result, long error);

/* The go-between's function, whose argument this is. It shares the caller's memory, and its descriptors if a pidfd is
 * wanted: the descriptor is made for the caller. */
struct detachment {
	struct child_plan *child;
	struct clone_request request;
	struct result *result; /* filled */
};
int make_detached(void *detachment);

/* Makes the child by a go-between. Without CLONE_VFORK it may be on its way when this returns. All signals are
 * blocked. */
void engine_detach(struct plan *plan, const struct clone_request *inner, struct result *result);
#endif
