/* SPDX-License-Identifier: MIT
 *
 * Launches: programs that were started and may not have been executed yet.
 */
#ifndef ODF_SPAWN_LAUNCH_H
#define ODF_SPAWN_LAUNCH_H

#include "plan.h"

/* NULL: no memory. */
odf_launch *launch_make(void);

/* `report`: as far as it is known. Takes ownership of the plan; NULL: the program is known to have been executed. */
void launch_begin(odf_launch *launch, pid_t pid, const odf_report *report, struct plan *plan);
#endif
