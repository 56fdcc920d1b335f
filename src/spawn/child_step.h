/* SPDX-License-Identifier: MIT
 *
 * For the files of the child: RUNS BETWEEN CLONE AND EXEC, by the rules at the top of child.c.
 */
#ifndef ODF_SPAWN_CHILD_STEP_H
#define ODF_SPAWN_CHILD_STEP_H

#include "../sys/syscall.h"
#include "child.h"

/* What comes now is this step, of the caller's action of that index, or -1. */
static inline void begin(const struct child_plan *plan, odf_step step, int index)
{
	plan->outcome->index = index;
	plan->outcome->step = (int)step;
}

/* True if the child may go on. */
static inline bool passed(const struct child_plan *plan, long result)
{
	uint64_t bit = ODF_FORGIVE((unsigned)plan->outcome->step);

	if (result >= 0)
		return true;
	if (plan->forgive & bit) {
		plan->outcome->forgiven |= bit;
		return true;
	}
	plan->outcome->error = (int)-result;
	return false;
}

/* child_fds.c */
bool child_map_descriptors(const struct child_plan *plan);
bool child_close_others(const struct child_plan *plan);
/* Where a descriptor of the caller's is by now. */
int child_kept_number(const struct child_plan *plan, int which);
#endif
