/* SPDX-License-Identifier: MIT */
#ifndef ODF_SPAWN_HAND_H
#define ODF_SPAWN_HAND_H

#include "../sys/handed.h"
#include "plan.h"

/* Calls `go` with the environment for the plan's program (sys/handed.h). The request has been checked. The program is
 * looked up as this process sees it. For a child with another root or other namespaces the environment is unchanged. */
void hand_environment(const struct plan *plan, const struct request *request, handed_go *go, void *call);
#endif
