/* SPDX-License-Identifier: MIT
 *
 * RUNS BETWEEN CLONE AND EXEC as well as in the caller: the rules are at the top of child.c.
 */
#ifndef ODF_SPAWN_CHILD_CGROUP_H
#define ODF_SPAWN_CHILD_CGROUP_H

#include "child_step.h"

/* Whether a process that enters the cgroup now would freeze in it. False if that cannot be read. */
bool child_cgroup_is_frozen(int cgroup_fd);

/* The child's step: enters the cgroup, unless the kernel did so at clone. */
bool child_enter_cgroup(const struct child_plan *plan);
#endif
