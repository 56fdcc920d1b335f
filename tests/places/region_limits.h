/* SPDX-License-Identifier: MIT
 *
 * What the cases of region_limits share.
 */
#ifndef TESTS_REGION_LIMITS_H
#define TESTS_REGION_LIMITS_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"
#include "../support/case_seconds.h"

enum { PAGE = 4096, WORDS = PAGE / 8, NOBODY = 65534 };
#define DEADLINE ((int)case_seconds(120))
#define MIB ((size_t)1 << 20)

#define REQUIRE(condition)										\
	do {												\
		if (!(condition)) {									\
			dprintf(2, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);	\
			_exit(1);									\
		}											\
	} while (0)

/* region_limits_common.c */
void skip(const char *reason);
extern odf_region *region;
extern volatile uint64_t *base;
extern size_t pages;
void fill(void);
bool holds(void);
void make_region(size_t size);
odf_region_info info(void);
odf_reason reason(void);
bool ends_well(pid_t pid);
int fork_and_check(void);
void discard_and_check(void);
time_t now(void);
bool is_given_up(void);
int live_with(int allowed);
void must_settle(void);
void must_recover(void);
void recover(size_t size);
pid_t start_sleeper(void);
void end_sleeper(pid_t pid);
size_t statm(int which);
struct rlimit limit_to(int resource, rlim_t soft);

/* region_limits_lowered.c */
void case_as_create(char **unused);
void case_as_lowered(char **unused);
void case_data_lowered(char **unused);
void case_nofile_create(char **unused);
void case_nofile_lowered(char **unused);
void case_fsize(char **unused);
void case_nproc(char **unused);
void case_mappings(char **unused);

/* region_limits_missing.c */
void case_refused(char **arguments);
void case_changed_later(char **unused);
void case_no_proc(char **unused);
void case_works(char **unused);
void case_huge(char **unused);
void case_memory(char **arguments);
void case_swap(char **unused);
void case_large(char **arguments);
void case_descriptor(char **arguments);
void case_number_taken(char **arguments);

/* region_limits_threads.c */
void case_threads(char **arguments);
#endif
