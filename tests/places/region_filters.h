/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_region_filters share: filters, and a region.
 */
#ifndef TESTS_REGION_FILTERS_H
#define TESTS_REGION_FILTERS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/support.h"

enum { PAGE = 4096, WORDS = PAGE / 8, PAGES = 2048, DEADLINE = 120 };

#define REQUIRE(condition)                                                                                     \
	do {                                                                                                   \
		if (!(condition)) {                                                                            \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);      \
			_exit(1);                                                                              \
		}                                                                                              \
	} while (0)

/* region_filters_deny.c */
void filter_begin(void);
void filter_load(void);
void deny_memfd(int error);
void deny_noexec_seal(int error);
void deny_seals(int error);
void deny_remap(int error);
void deny_every_remap(int error);
void deny_wipe(int error);
void deny_remove(int error);
void deny_dontfork(int error);
void deny_userfault(int error);
void deny_minor(int error);
void deny_register(int error);
void deny_scan(int error);
void deny_pagemap(int error);
void deny_close_range(int error);
void deny_clone3(int error);
void deny_fork(int error);

/* region_filters_region.c */
extern odf_region *region;
void fill(void);
bool holds(void);
void make_region(unsigned flags);
odf_region_info info(void);
pid_t start_child(int hold);
bool ends_well(pid_t pid);
void fork_and_check(void);
void fork_through_libc(void);
void must_settle(bool itself);
void forks_must_settle(void);
void check_discards(void);
odf_reason reason(void);
#endif
