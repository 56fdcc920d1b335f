/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_region_model share: what all processes of a seed see, what one process knows, and the
 * functions and variables that one file defines and others use.
 */
#ifndef TESTS_REGION_MODEL_H
#define TESTS_REGION_MODEL_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/support.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

enum {
	PAGE = 4096,
	BLOCK = 512, /* pages that one page table maps */
	MAX_REGIONS = 4,
	MAX_CHILDREN = 8,
	MAX_PROCESSES = 512,
	MAX_DEPTH = 4,
	HOT = 12,
	PATH_SIZE = 48,
	RUN_BUFFER = 3 * PAGE,
	CLONE_STACK = 512 * 1024,
	GUARD_SECONDS = 120 /* generous, to tell a hang from a failure */
};

/* ---- What all processes of a seed share -------------------------------------------------------------------------- */

/* One process that a program made. If its parent does not wait for it, the worker inherits and judges it, and finds it
 * by this entry. */
struct entry {
	atomic_int pid;
	int parent;         /* index; -1 for the root */
	atomic_bool ready;  /* may be stopped, and gets SIGCONT if its parent dies */
	atomic_bool doomed; /* its parent will kill it */
	atomic_bool leaves; /* it executes another program */
	atomic_bool done;   /* it has completed its program without a failure */
	atomic_bool gone;   /* it was waited for */
	char path[PATH_SIZE];
};

struct board {
	atomic_int failed;
	atomic_bool told; /* the text is complete */
	char text[1024];
	atomic_int used;
	struct entry entries[MAX_PROCESSES];
};

struct totals {
	atomic_int failed;
	atomic_ulong seeds, processes, steps, compared, discards, kills, stops, execs, orphans, settles, busy, spawns,
		past, created, destroyed;
	/* The library's own counts, of regions that were destroyed or whose process ended. */
	atomic_ulong kernel_settles, interrupted, merged;
	char text[1024];
};

/* ---- What a process knows ---------------------------------------------------------------------------------------- */

struct region {
	odf_region *handle; /* NULL: none */
	unsigned char *base, *shadow;
	size_t pages;
	unsigned char *blocks; /* one per 512 pages: some page in it was touched */
	uint64_t *touched;     /* one bit per page */
	size_t aside_size;     /* size of the memory that holds both */
	size_t hot[HOT];
	bool owned; /* made by this process, not inherited */
	odf_region_info last;
};

struct child {
	pid_t pid;
	int entry;
	bool stopped;
};

struct process {
	uint64_t seed, random;
	char path[PATH_SIZE];
	int entry, depth;
	unsigned step, forks, fork_limit;
	long page_budget; /* pages that this process may still touch */
	/* Made by clone() or syscall(): libc does not know that this is a new process, and no thread must be
	 * started. */
	bool past_libc;
	struct child children[MAX_CHILDREN];
	int child_count;
	struct region regions[MAX_REGIONS];
};

/* ---- Processes --------------------------------------------------------------------------------------------------- */

enum way {
	WAY_FORK, WAY_ODF_FORK, WAY_ODF_FORK_WITH, WAY_HANDLER, WAY_PLAIN,
	WAY_BARE = WAY_PLAIN, WAY_HANDLER_BARE, WAY_SYSCALL, WAY_CLONE, WAY_COUNT
};

/* ---- Who holds a snapshot, case by case -------------------------------------------------------------------------- */

enum { PAGES = 2 * BLOCK + 1 };

enum holder { HOLDS_CHILD, HOLDS_STOPPED, HOLDS_ORPHAN, HOLDS_ORPHAN_OF_KILLED, HOLDER_COUNT };

struct word {
	atomic_int ready, pid, verdict; /* verdict: 1 success, 2 failure */
};

extern struct process self; /* region_model_regions.c */
#include "../support/draw.h"

/* test_region_model.c */
bool regions_work(void);

/* region_model_regions.c */
extern struct totals *totals;
extern struct board *board;
void *shared_memory(size_t size);
extern bool trace;
void draw_from_step(unsigned step);
__attribute__((noreturn, format(printf, 1, 2))) void failure(const char *format, ...);
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
const char *state_name(odf_region_state state);
odf_region_info info_of(const odf_region *region);
int number_of(const struct region *r);
void compare_page(const struct region *r, size_t page);
void touch(struct region *r, size_t page, size_t count);
void compare_region(const struct region *r);
void compare_all(void);
void check_info(struct region *r);
void count_for_totals(const struct region *r);
void settle(struct region *r);
void create(struct region *r);
void destroy(struct region *r);
struct region *draw_region(void);
size_t draw_page(const struct region *r);
size_t draw_run(const struct region *r, size_t page, size_t most);

/* region_model_bytes.c */
void write_words(struct region *r);
void write_run(struct region *r);
void add_words(struct region *r);
void kernel_writes(struct region *r);
void kernel_reads(struct region *r);
void compare_some(const struct region *r);
void discard(struct region *r);
void discard_patchwork(struct region *r);
void refused(struct region *r);

/* region_model_children.c */
extern const char *const way_names[];
extern bool way_works[WAY_COUNT];
extern pid_t (*bare_fork)(void);
bool is_interposed(const char *name, void **symbol);
void find_ways(void);
void fork_in_handler(int signal);
void reap(int index);
void make_child(void);
void treat_child(void);
void make_other_process(void);
void make_child_past_the_library(void);
void race_settle(struct region *r);

/* region_model_program.c */
void run_program(void) __attribute__((noreturn));
void let_signals_kill(void);
bool run_seed(uint64_t seed);

/* region_model_holders.c */
void fill(unsigned char *base, uint64_t tag);
pid_t make_holder(enum holder holder, const unsigned char *base, struct word *word, const int go[2]);
odf_region_info get_info(const odf_region *region);
void must_settle(odf_region *region);
bool settling_by_call_works(void);
void test_holders(void **state);
void test_exec_lets_go(void **state);
void test_forks_in_handlers(void **state);
void test_forks_past_the_library(void **state);

/* region_model_left.c */
void test_nothing_is_left(void **state);
void test_memory_is_given_back(void **state);
#endif
