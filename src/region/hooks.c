/* SPDX-License-Identifier: MIT
 * What happens around a fork. Async-signal-safe throughout. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "internal.h"

/* The process's own; a child forgets those that it inherits. */
struct odf_region *region_list;
unsigned region_forks_pending;

static atomic_size_t bytes;

/* A page that is zero in every child (MADV_WIPEONFORK, Linux 4.14), however it was made: tells a child that no hook has seen from its parent, and
 * is not fooled by a child that shares its parent's memory. */
static atomic_int *_Atomic marker;
#define MARKER_OURS  1
#define MARKER_TAKEN 2

/* By a process that no list of threads has. */
static atomic_bool memory_is_shared;

/* This thread is between region_fork_begin and region_fork_end. */
static _Thread_local bool bracketed __attribute__((tls_model("initial-exec")));

static atomic_uint generation;

unsigned region_generation(void)
{
	region_meet_child();
	return atomic_load_explicit(&generation, memory_order_relaxed);
}

/* Makes this process the owner of nothing: its regions are ordinary memory now, or not there. */
static void become_child(void)
{
	for (struct odf_region *region = region_list; region != NULL; region = region->next) {
		/* Invariant 6. What was not shown to children is not in this one (invariant 3). */
		if (!region->inherited && !region->visible)
			region->absent = true;
		region->inherited = true;
		region_close_files_here(region);
		region->file = region->second_file = region->token_file = region->spare_file = -1;
	}
	atomic_store_explicit(&memory_is_shared, false, memory_order_relaxed); /* this is a copy */
	region_list = NULL; /* none of them takes part in anything any more */
	region_forks_pending = 0;
	atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
	bracketed = false;
	atomic_store_explicit(&bytes, 0, memory_order_relaxed);
	region_keeper_forget();
	region_lock_renew();
}

void region_meet_child(void)
{
	atomic_int *mark = atomic_load_explicit(&marker, memory_order_acquire);
	uint64_t all = ~0ull, mask;
	int wiped = 0;

	if (mark == NULL || atomic_load_explicit(mark, memory_order_acquire) == MARKER_OURS)
		return;
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask); /* a handler must not wait for the thread that it interrupts */
	if (atomic_compare_exchange_strong_explicit(mark, &wiped, MARKER_TAKEN, memory_order_acquire, memory_order_acquire)) {
		become_child();
		atomic_store_explicit(mark, MARKER_OURS, memory_order_release);
	}
	while (atomic_load_explicit(mark, memory_order_acquire) != MARKER_OURS) /* another thread of the child is at it, for a moment */
		(void)sys_call0(SYS_sched_yield);
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
}

int region_count(struct odf_region *region)
{
	if (marker == NULL) {
		atomic_int *mark = region_map(NULL, REGION_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mark == NULL)
			return ENOMEM;
		atomic_store_explicit(mark, MARKER_OURS, memory_order_relaxed);
		if (sys_call3(SYS_madvise, mark, REGION_PAGE, MADV_WIPEONFORK) < 0) {
			region_unmap(mark, REGION_PAGE);
			return ENOTSUP;
		}
		atomic_store_explicit(&marker, mark, memory_order_release);
	}
	atomic_fetch_add_explicit(&bytes, region->capacity, memory_order_relaxed);
	return 0;
}

void region_uncount(struct odf_region *region)
{
	if (!region->inherited)
		atomic_fetch_sub_explicit(&bytes, region->capacity, memory_order_relaxed);
}

size_t region_bytes(void)
{
	return atomic_load_explicit(&bytes, memory_order_relaxed);
}

/* How often a fork that cannot be made to fail (inside libc, past our bracket) tries to freeze, a millisecond apart. */
#define HANDLER_TRIES 50

/* Freezes, and sees to it that nothing becomes LIVE before the fork is over. The lock is not held meanwhile: a fork may take long (CLONE_VFORK), and runs other
 * libraries' handlers, who may wait for a thread that waits for the lock. Whatever another thread does to a FROZEN region meanwhile is right at each moment,
 * and a region that is made meanwhile is FROZEN from its start. */
static int freeze_for_fork(unsigned tries)
{
	uint64_t mask;
	int error;

	region_meet_child();
	for (;;) {
		region_lock(&mask);
		error = region_freeze_all();
		if (error == 0)
			region_forks_pending++;
		region_unlock(&mask);
		if (error == 0)
			return 0;
		region_keeper_call(); /* what is missing is the keeper's to mend */
		if (--tries == 0)
			return error;
		region_pause_ms(1);
	}
}

static void fork_is_over(void)
{
	uint64_t mask;

	region_lock(&mask);
	if (region_forks_pending > 0) /* else this is the child */
		region_forks_pending--;
	region_unlock(&mask);
	region_keeper_notify();
}

/* Where the keeper cannot settle beside a running program (no userfaultfd), a process of one thread settles on its way to a fork: nothing runs
 * beside it then. It does so once the forks of FROZEN memory have together cost as much more than the cheapest one as the last settle took: at worst
 * twice what the best choice would have cost, whatever comes. */
static atomic_ullong fork_fastest_ns = ULLONG_MAX, fork_excess_ns, settle_cost_ns = 1000000;

void region_memory_is_shared(void)
{
	atomic_store_explicit(&memory_is_shared, true, memory_order_relaxed);
}

bool region_has_one_thread(void)
{
	struct stat tasks;
	int saved = errno;
	/* Two entries that every directory has, the caller, the keeper. */
	bool alone = !atomic_load_explicit(&memory_is_shared, memory_order_relaxed) && stat("/proc/self/task", &tasks) == 0 &&
		     tasks.st_nlink == 2u + 1u + (region_keeper_runs() ? 1u : 0u);

	errno = saved;
	return alone;
}

static void settle_if_due(void)
{
	uint64_t start, all = ~0ull, mask;
	int saved = errno;

	if (region_keeper_settling() != ODF_REGION_SETTLES_AT_FORK || atomic_load(&fork_excess_ns) < atomic_load(&settle_cost_ns))
		return;
	if (region_has_one_thread()) {
		/* Handlers are the one thing that could run beside it. */
		(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
		start = region_clock();
		if (region_order_now(REGION_SETTLE_AT_FORK, NULL) == 0)
			atomic_store(&settle_cost_ns, region_clock() - start);
		(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	}
	atomic_store(&fork_excess_ns, 0); /* if it could not be done: not asked again before as much has come together */
	errno = saved;
}

int region_fork_begin(uint64_t *start, bool may_make_thread)
{
	int error;

	if (may_make_thread)
		region_see_to_keeper();
	settle_if_due();
	error = freeze_for_fork(1);
	bracketed = error == 0;
	*start = region_clock();
	return error;
}

void region_fork_end(uint64_t start)
{
	uint64_t held = region_clock() - start;

	if (held < atomic_load(&fork_fastest_ns))
		atomic_store(&fork_fastest_ns, held);
	else
		atomic_fetch_add(&fork_excess_ns, held - atomic_load(&fork_fastest_ns));
	bracketed = false;
	fork_is_over();
}

void region_in_child(void)
{
	region_meet_child();
}

size_t region_resident_bytes(void)
{
	struct stat status;
	uint64_t sum = 0;

	/* A region that has no keeper yet is the only one. */
	if (region_bytes() != 0 && !region_keeper_runs() && region_list != NULL && region_file_is_here(region_list) && fstat(region_list->file_here, &status) == 0)
		return (size_t)status.st_blocks * 512;
	if (region_bytes() == 0 || region_order_now(REGION_RESIDENT, &sum) != 0)
		return 0;
	return (size_t)sum;
}


/* The handlers that libc's fork runs. */
static _Thread_local bool pending_here __attribute__((tls_model("initial-exec")));

static void prepare(void)
{
	/* Within a bracket all is FROZEN already and stays it. If it fails to the last, what is LIVE is not in the child (invariant 3), who finds the region absent. */
	if (!bracketed && region_bytes() > 0 && freeze_for_fork(HANDLER_TRIES) == 0)
		pending_here = true;
}

static void parent(void)
{
	if (pending_here)
		fork_is_over();
	pending_here = false;
}

static void child(void)
{
	pending_here = false;
	region_meet_child();
}

/* Before the program's constructors, so that ours is among the last prepare handlers to run, and what others write before is in the snapshot without a
 * copy. */
__attribute__((constructor(101))) static void register_handlers(void)
{
	(void)pthread_atfork(prepare, parent, child); /* fails without memory only, in a process that has just started */
}
