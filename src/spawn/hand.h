/* SPDX-License-Identifier: MIT */
#ifndef ODF_SPAWN_HAND_H
#define ODF_SPAWN_HAND_H

#include "../sys/handed.h"
#include "plan.h"

/* After the request was checked. Calls `go` with the environment that the program of the plan is to have
 * (sys/handed.h). What it will be is looked at as this process finds it: not where the child has another root or other
 * namespaces. */
void hand_environment(const struct plan *plan, const struct request *request, handed_go *go, void *call);
#endif
