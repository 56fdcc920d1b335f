/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_region_threads share: the memory, what it must contain, and what the threads have done.
 */
#ifndef TESTS_REGION_THREADS_H
#define TESTS_REGION_THREADS_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/model_support.h"
#include "../support/support.h"

enum {
	PAGE = 4096,
	REGIONS = 3,
	WRITERS = 4,        /* by stores */
	KERNEL_WRITERS = 2, /* by system calls */
	VECTORS = WRITERS + KERNEL_WRITERS,
	PER_REGION = 128,
	SLOTS = PER_REGION * REGIONS,
	SHARED = 24,       /* counters that all writers increment */
	GUARDED = 2 * REGIONS,
	LOCKERS = 2,
	BLOCK_PAGES = 8,   /* per kernel writer, for long reads */
	DISCARD_PAGES = 3000,
	FORKERS = 2,
	SPINNERS = 2,
	MAPPINGS = 24,
	GUARD_SECONDS = 300 /* generous, to tell a hang from a failure */
};

/* ---- What all processes share ------------------------------------------------------------------------------------ */

struct outcome {
	atomic_int failures;
	char text[512];
	atomic_ulong looks, orphans_made, orphans_well;
};

/* ---- The memory -------------------------------------------------------------------------------------------------- */

struct memory {
	odf_region *region;
	unsigned char *base;
	size_t pages, counter_pages; /* slots and shared counters lie below counter_pages */
};

/* A mutex in a region and the data that it protects, in the same page. */
struct guarded {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	_Atomic uint64_t first, second; /* equal, unless a thread holds the mutex */
};

enum way { WAY_FORK, WAY_ODF_FORK, WAY_ODF_FORK_WITH, WAY_PLAIN, WAY_BARE = WAY_PLAIN, WAY_SYSCALL, WAY_COUNT };

/* region_threads_memory.c */
extern struct outcome *outcome;
__attribute__((format(printf, 1, 2))) void failure(const char *format, ...);
extern pid_t test_process;
extern struct memory regions[REGIONS];
extern _Atomic uint64_t *slots[VECTORS][SLOTS], *shared[SHARED];
extern unsigned char *blocks[KERNEL_WRITERS];
extern struct guarded *guarded[GUARDED];
uint64_t value_of(int vector, int slot, uint64_t round);
extern const uint64_t round_mask;
bool load_rests(void);
size_t below(uint64_t *random, size_t limit);
void lay_out(void);
void discard_range(int region, size_t *first, size_t *count);

/* region_threads_writers.c */
extern atomic_bool stop, stop_forks;
extern atomic_ulong rounds_written, kernel_writes, added, locked, discards, forks, spawns, mappings, kills, churned,
	settle_calls;
extern uint64_t last_round[VECTORS];
void check_slot(int v, int slot, uint64_t round);
void *write_always(void *number);
void *write_by_kernel_always(void *number);
void *lock_always(void *number);
extern const size_t tagged[];
uint64_t discard_tag(int region, size_t page, uint64_t generation);
void *discard_always(void *unused);

/* region_threads_forks.c */
extern const char *const way_names[];
extern bool way_works[WAY_COUNT];
extern atomic_ulong way_used[WAY_COUNT];
extern pid_t (*bare_fork)(void);
bool is_interposed(const char *name, void **symbol);
__attribute__((noreturn)) void be_child(uint64_t random, enum way way, bool doomed);
void *fork_always(void *number);
void *spawn_always(void *unused);

/* region_threads_beside.c */
void *spin(void *unused);
void *map_always(void *unused);
void *churn_always(void *unused);
void *watch_always(void *unused);
#endif
