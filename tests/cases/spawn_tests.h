/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_spawn share.
 */
#ifndef TESTS_SPAWN_TESTS_H
#define TESTS_SPAWN_TESTS_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

/* test_spawn.c */
void on_each_engine(odf_spawn_options *options, bool libc_can, void (*check)(const char *json, odf_strategy engine));
char *number(long value);
char *quoted(const char *format, ...);
unsigned long ignored_signals(const char *json, odf_strategy engine);
void handler(int signal);

/* spawn_descriptors.c */
void check_nothing(const char *json, odf_strategy engine);
void test_exec_fd(void **state);
extern int file_a, file_b;
void open_files(void);
void test_map(void **state);
void test_swap(void **state);
void test_open(void **state);
void test_null(void **state);
void test_open_by_descriptor(void **state);
void test_close_others(void **state);

/* spawn_attributes.c */
void test_session_and_group(void **state);
void test_foreground(void **state);
void test_signals(void **state);
void test_attributes(void **state);
void test_ids(void **state);
void test_dumpable_with_threads(void **state);
void test_seccomp(void **state);
void test_cgroup(void **state);

/* spawn_engines.c */
void test_engines_agree(void **state);

/* spawn_results.c */
void test_pidfd(void **state);
void test_pre_exec(void **state);
void test_detach(void **state);
void test_busy_retry(void **state);
void test_choice(void **state);
void test_little_things(void **state);
#endif
