/* SPDX-License-Identifier: MIT
 *
 * What the scenarios of faulted share.
 */
#ifndef TESTS_FAULTED_H
#define TESTS_FAULTED_H

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>

#include "faults_program.h"
#include "odfork.h"

/* faulted.c */
extern char *true_argv[];
extern unsigned char data[64 << 10];
void set_options(odf_spawn_options *options);
void check_spawn(int error, pid_t pid, const odf_report *report);

/* faulted_pools.c */
void pools(void);
#endif
