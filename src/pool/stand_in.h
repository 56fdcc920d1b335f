/* SPDX-License-Identifier: MIT
 *
 * How a template is forked so that no wait() of the program finds it: for template.c only.
 */
#ifndef ODF_POOL_STAND_IN_H
#define ODF_POOL_STAND_IN_H

#include "internal.h"

/* Forks the template, with all signals blocked. *guard: the process that stays as its parent, a child of the program
 * without an exit signal; 0: none. 0 or an errno value; ECHILD: the stand-in was killed before it reported the fork. */
int stand_in_fork(struct template_start *start, pid_t *guard);

/* The template has ended, or is about to. Waits about a second for the guard, which then ends too; then kills it. */
void stand_in_leave_guard(pid_t *guard);
#endif
