/* SPDX-License-Identifier: MIT
 * How a template is forked without being seen by the program's wait(): for template.c only. */
#ifndef ODF_POOL_STAND_IN_H
#define ODF_POOL_STAND_IN_H

#include "internal.h"

/* Forks the template. With all signals blocked. *guard: the process that stays as its parent, a child of the program
 * that sends no signal; 0: none. 0 or an errno value; ECHILD: what was made is gone already. */
int stand_in_fork(struct template_start *start, pid_t *guard);

/* The template has ended, or is about to: waits for the guard, which then ends too, for a second at most. */
void stand_in_leave_guard(pid_t *guard);
#endif
