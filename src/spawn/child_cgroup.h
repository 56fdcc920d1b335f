/* SPDX-License-Identifier: MIT
 *
 * RUNS BETWEEN CLONE AND EXEC as well as in the caller: the rules are at the top of child.c.
 */
#ifndef ODF_SPAWN_CHILD_CGROUP_H
#define ODF_SPAWN_CHILD_CGROUP_H

#include "child_step.h"

/* Whether who enters the cgroup now is seen to stop there. False where that cannot be told. */
bool child_cgroup_is_frozen(int cgroup_fd);

/* The step of the child, unless the kernel has put it there already. */
bool child_enter_cgroup(const struct child_plan *plan);
#endif
