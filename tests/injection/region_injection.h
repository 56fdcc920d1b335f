/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_region_injection share: the calls that fail, and the memory that the scenarios use.
 */
#ifndef TESTS_REGION_INJECTION_H
#define TESTS_REGION_INJECTION_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/region/region.h"
#include "../../src/sys/clone.h"
#include "../support/case_seconds.h"
#include "../support/real_call.h"
#include "../support/support.h"

#define PAGE        ((size_t)4096)
#define TABLE       ((size_t)512 * PAGE)
#define FAKE_CLONE  1000 /* for clone_child, among the system call numbers */
#define NUMBERS     1024
#define PATIENCE_MS 2000

/* Machines that lack a feature. */
enum { NO_SCAN = 1, NO_CLOSE_RANGE = 2, NO_USERFAULT = 4, NO_QUERY = 8 };

long sys_call6(long number, long a, long b, long c, long d, long e, long f);
long __wrap_clone_child(const struct clone_request *request);
long __real_clone_child(const struct clone_request *request);

/* Shared by all processes of a run. */
struct control {
	atomic_bool armed;
	unsigned modes;
	long number;
	int error;
	int times_at_first;
	bool unmap;
	bool trimming; /* munmap may fail: the end of a new reservation is being cut off */
	atomic_int countdown, times;
	atomic_int failures;
	atomic_int counts[NUMBERS];
	const char *volatile where;
	atomic_bool told;
	char text[512];
	/* Over all runs. */
	atomic_int no_region, no_fork, absent, never, not_settled, given_up;
};

/* The keeper is held between two steps of a settle, without the lock, before it computes how far the next one goes. */
struct halt {
	atomic_int countdown;
	bool reached;
	sem_t arrived, resume;
};

#define AT(place) (control->where = (place))

/* ---- Regions and their contents ---------------------------------------------------------------------------------- */

#define MOST_PAGES (2 * TABLE / PAGE + 37)

/* Each page has its value in three words, and zeros elsewhere; TOUCHED_WORD of the first TOUCHED pages belongs to the
 * thread beside. */
struct area {
	odf_region *region;
	char *base;
	size_t pages;
	uint64_t value[MOST_PAGES];
	bool used[MOST_PAGES];
	bool hole[MOST_PAGES]; /* of a bare region */
};

enum { SMALL, BIG, AREAS };

/* ---- Children ---------------------------------------------------------------------------------------------------- */

struct child {
	pid_t pid;
	int go;
};

/* region_injection_calls.c */
extern struct control *control;
extern __thread bool ours;
extern struct halt halt;
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void lift(void);
uint64_t now_ms(void);
void wait_a_moment(void);

/* region_injection_areas.c */
extern struct area areas[AREAS];
volatile uint64_t *word_at(const struct area *area, size_t page, size_t offset);
void compare(const char *who);
void put(struct area *area, size_t page, uint64_t value);
void discard(struct area *area, size_t page, size_t count);
odf_region_info info_of(const struct area *area);
bool failed_yet(void);
void create(struct area *area, unsigned flags);
extern bool bare;
void end_if_given_up(void);
bool end_of(struct child child);
struct child snapshot(bool by_libc);
void settle(struct area *area);
void *settle_beside(void *area);
void interrupted_settle(struct area *area, int after);
void fill(uint64_t value, bool densely);
void must_not_settle(void);

/* region_injection_snapshots.c */
void by_call(void);
void by_itself(void);

/* region_injection_holes.c */
void discard_memory(size_t from, size_t count);
void live_with_holes(void);
void with_holes(void);
void with_holes_and_a_keeper(void);
#endif
