/* SPDX-License-Identifier: MIT
 * A program that was started and may not have been executed yet. */
#ifndef ODF_SPAWN_LAUNCH_H
#define ODF_SPAWN_LAUNCH_H

#include "plan.h"

/* NULL: no memory. */
odf_launch *launch_make(void);

/* The report as it is so far; takes the plan over. NULL: it is known to have been executed. */
void launch_begin(odf_launch *launch, pid_t pid, const odf_report *report, struct plan *plan);
#endif
