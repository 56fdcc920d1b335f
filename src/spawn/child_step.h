/* SPDX-License-Identifier: MIT
 *
 * For the files of the child: RUNS BETWEEN CLONE AND EXEC, by the rules at the top of child.c.
 */
#ifndef ODF_SPAWN_CHILD_STEP_H
#define ODF_SPAWN_CHILD_STEP_H

#include "../sys/syscall.h"
#include "child.h"

/* Notes the step that begins, and the index of the caller's action, or -1. */
static inline void begin(const struct child_plan *plan, odf_step step, int index)
{
	plan->outcome->index = index;
	plan->outcome->step = (int)step;
}

/* Notes a failed step, forgiven or not. True: the child goes on. */
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
/* The number that a kept descriptor has by now. */
int child_kept_number(const struct child_plan *plan, int which);
#endif
