/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_pool_spawn share.
 */
#ifndef TESTS_POOL_SPAWN_H
#define TESTS_POOL_SPAWN_H

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

/* test_pool_spawn.c */
extern char *true_argv[];
extern odf_pool *pool;
odf_spawn_options not_awaited(odf_launch **launch);
void must_be_executed(odf_launch *launch);

/* pool_spawn_many.c */
void test_large_arguments(void **state);
void test_many_in_the_air(void **state);
void test_many_threads(void **state);
void test_fork_between(void **state);
void test_waiters(void **state);
void test_random_kills(void **state);

/* pool_spawn_places.c */
void test_refused(void **state);
void test_no_process(void **state);
void test_sandboxes(void **state);
#endif
