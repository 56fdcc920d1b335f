/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_spawn_errors share.
 */
#ifndef TESTS_SPAWN_ERRORS_H
#define TESTS_SPAWN_ERRORS_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

#define FAILS(step, index, error, ...)                                                             \
	do {                                                                                       \
		odf_spawn_options o = ODF_SPAWN_OPTIONS_INIT;                                      \
		__VA_ARGS__;                                                                       \
		must_fail_at("/bin/true", true_argv, &o, step, index, error);                      \
	} while (0)

/* test_spawn_errors.c */
extern char *true_argv[];
void must_fail_at(const char *file, char *const argv[], odf_spawn_options *options, odf_step step, int index,
		  int error);
void must_refuse_as(odf_strategy engine, odf_spawn_options *options, int error);
void must_refuse(const char *file, char *const argv[], odf_spawn_options *options, int index);

/* spawn_errors_refused.c */
void test_refused(void **state);
void test_refused_flags(void **state);
void test_refused_allow(void **state);
void test_refused_actions(void **state);
void test_structure_sizes(void **state);

/* spawn_errors_places.c */
void test_unprivileged(void **state);
void test_stale_pidfd(void **state);
void test_foreign_proc(void **state);
void test_sigchld_ignored(void **state);
void test_reaper_thread(void **state);
void test_few_descriptors(void **state);
void test_empty_root(void **state);

/* spawn_errors_frozen.c */
void test_frozen_cgroup(void **state);
#endif
