/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_region_extents share: areas of the region, what they must contain, and the functions and
 * variables that one file defines and others use.
 */
#ifndef TESTS_REGION_EXTENTS_H
#define TESTS_REGION_EXTENTS_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/region/internal.h"
#include "../support/support.h"

enum {
	PAGE = 4096,
	TABLE_PAGES = 512,
	REGION_PAGES = 1 << 18, /* 1 GiB, the smallest region */
	WINDOW = 3 * TABLE_PAGES / 2, /* pages; the steps work in windows; the rest is a hole until all of it is taken
	                                 at once */
	WINDOWS = 3,
	MAX_AREAS = 3,
	MAX_CHILDREN = 3,
	MAX_DEPTH = 3,
	GUARD_SECONDS = 300 /* generous, to tell a hang from a failure */
};

/* ---- What all processes of a seed share -------------------------------------------------------------------------- */

struct board {
	atomic_int failed;
	char text[1024];
	atomic_ulong seeds, processes, steps, settles, busy, again, foreign, left;
};

/* ---- What a process knows ---------------------------------------------------------------------------------------- */

struct area {
	odf_region *handle; /* NULL: none */
	unsigned char *base, *shadow;
	bool owned;
	unsigned born; /* how many forks this process had made before */
	size_t windows[WINDOWS];
	/* For each page of the windows. */
	unsigned char kind[WINDOWS * WINDOW], rights[WINDOWS * WINDOW];
	bool touched[WINDOWS * WINDOW];
};

struct child {
	pid_t pid;
	int go;
	unsigned fork; /* which fork of this process */
};

struct process {
	uint64_t seed, random;
	char path[32];
	unsigned depth, step, forks;
	struct area *areas[MAX_AREAS];
	struct child children[MAX_CHILDREN];
	unsigned child_count;
	int from_pipe, to_pipe;
};

extern struct process self; /* region_extents_check.c */
#include "../support/draw.h"

/* test_region_extents.c */
extern struct board *board;

/* region_extents_check.c */
extern bool trace;
__attribute__((noreturn, format(printf, 1, 2))) void failure(const char *format, ...);
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
extern const char *const kind_names[];
size_t page_of(const struct area *a, size_t slot);
unsigned char *at(const struct area *a, size_t slot);
unsigned char *shadow_at(const struct area *a, size_t slot);
bool can_write(const struct area *a, size_t slot);
const char *describe(const struct area *a, size_t slot);
void check(const struct area *a, bool everything);

/* region_extents_changes.c */
void take(struct area *a);
void take_found(struct area *a);
void give(struct area *a);
void give_all(struct area *a);
void cut(struct area *a);
void protect(struct area *a);
void discard(struct area *a);
void lose(struct area *a);
void reclaim(struct area *a);
void put_over(struct area *a);
void make_area(void);
struct area *draw_area(void);

/* region_extents_program.c */
void live(void);
__attribute__((noreturn)) void run_seed(uint64_t seed);
#endif
