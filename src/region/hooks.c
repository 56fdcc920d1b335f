/* SPDX-License-Identifier: MIT
 * What happens around a fork. Async-signal-safe throughout. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "../sys/tasks.h"
#include "internal.h"

/* The process's own; a child forgets those that it inherits. */
struct odf_region *region_list;

static atomic_size_t bytes;

/* A page that is zero in each child (MADV_WIPEONFORK, Linux 4.14), however the child was made. It tells a child that no
 * hook has seen from its parent, and a child that shares its parent's memory is not taken for one. */
static atomic_int *_Atomic marker;
#define MARKER_OURS  1
#define MARKER_TAKEN 2

/* By a process that is in no list of threads. */
static atomic_bool memory_is_shared;

static atomic_bool odd_children;

static atomic_uint generation;

unsigned region_generation(void)
{
	region_meet_child();
	return atomic_load_explicit(&generation, memory_order_relaxed);
}

/* Makes this process own no region: its regions are ordinary memory now, or absent. */
static void become_child(void)
{
	for (struct odf_region *region = region_list; region != NULL; region = region->next) {
		/* Invariant 6. Memory that was hidden from children is absent here (invariant 3). */
		if (!region->inherited && !region->visible)
			region->absent = true;
		region->inherited = true;
		region->given_back = 0;
		region->file = region->second_file = region->token_file = region->spare_file = -1;
		region->older_file = -1;
		region->own_pages = NULL; /* children do not get it */
	}
	region_ends_inherit(region_list); /* what is absent is marked by now */
	atomic_store_explicit(&memory_is_shared, false, memory_order_relaxed); /* this is a copy */
	atomic_store_explicit(&region_reach_wanted, false, memory_order_relaxed);
	atomic_store_explicit(&region_reach_is_late, false, memory_order_relaxed);
	atomic_store_explicit(&odd_children, false, memory_order_relaxed);
	region_list = NULL; /* none of them is frozen or settled any more */
	region_pending_forget();
	region_forget_freezes();
	atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
	atomic_store_explicit(&bytes, 0, memory_order_relaxed);
	region_keeper_forget();
	region_lock_renew();
}

void region_meet_child(void)
{
	atomic_int *mark = atomic_load_explicit(&marker, memory_order_acquire);
	uint64_t mask;
	int wiped = 0;

	if (mark == NULL || atomic_load_explicit(mark, memory_order_acquire) == MARKER_OURS || region_is_amid())
		return;
	region_hold_signals(&mask); /* a signal handler must not wait for its own thread */
	if (atomic_compare_exchange_strong_explicit(mark, &wiped, MARKER_TAKEN, memory_order_acquire,
						    memory_order_acquire)) {
		become_child();
		atomic_store_explicit(mark, MARKER_OURS, memory_order_release);
	}
	/* another thread of the child does it now, which takes a moment */
	while (atomic_load_explicit(mark, memory_order_acquire) != MARKER_OURS)
		(void)sys_call0(SYS_sched_yield);
	region_let_signals(&mask);
}

int region_count(struct odf_region *region)
{
	if (marker == NULL) {
		atomic_int *mark =
			region_map(NULL, REGION_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mark == NULL)
			return ENOMEM;
		region_note_core_pattern();
		atomic_store_explicit(mark, MARKER_OURS, memory_order_relaxed);
		if (sys_call3(SYS_madvise, mark, REGION_PAGE, MADV_WIPEONFORK) < 0) {
			region_unmap(mark, REGION_PAGE);
			return ENOTSUP;
		}
		atomic_store_explicit(&marker, mark, memory_order_release);
	}
	region_ends_prepare();
	region_take_signals();
	atomic_fetch_add_explicit(&bytes, region->capacity, memory_order_relaxed);
	return 0;
}

void region_uncount(struct odf_region *region)
{
	if (!region->inherited && !region->left)
		atomic_fetch_sub_explicit(&bytes, region->capacity, memory_order_relaxed);
}

static atomic_int absence = ODF_REASON_NONE;

void region_note_absence(odf_reason reason)
{
	atomic_store_explicit(&absence, (int)reason, memory_order_relaxed);
}

odf_reason region_absence(void)
{
	return (odf_reason)atomic_load_explicit(&absence, memory_order_relaxed);
}

size_t region_bytes(void)
{
	return atomic_load_explicit(&bytes, memory_order_relaxed);
}

/* How often a fork tries to freeze, a millisecond apart, before it gives the region up; the same if the keeper must
 * make views first; and if the region cannot even be given up, before the fork fails. */
#define TRIES_TO_FREEZE  3
#define TRIES_FOR_KEEPER 25
#define TRIES            50
#define KEEPER_MOST_MS   3000

/* Only the keeper can make a new aside, and it may have to wait for a processor. */
static bool keeper_is_at_it(void)
{
	bool is = false;

	for (const struct odf_region *region = region_list; region != NULL; region = region->next)
		is = is || (region->aside_lost && region->live_length > 0);
	return is && region_keeper_runs();
}

/* If a region cannot be frozen it is given up, so that the fork does not fail where it would succeed without a region.
 * If the kernel lacks memory, giving up may fail too; and some repairs only the keeper can make. */
static int freeze_or_give_up(unsigned tries)
{
	int error = region_freeze_all();

	if (error != 0 && tries >= TRIES_TO_FREEZE && (tries >= TRIES_FOR_KEEPER || !keeper_is_at_it()))
		error = region_give_up_all(ODF_REASON_REGION_REFUSED);
	return error;
}

/* A SCHED_IDLE thread may wait for a processor in a call that changes mappings, and all threads with a page fault wait
 * for it; or with our lock, and all threads that map memory or fork wait. The keeper, which has the policy of the main
 * thread, makes those calls for such a thread, so that it holds no lock of ours before and after its fork. */
static bool may_stall_others(void)
{
	return region_keeper_runs() &&
	       (sys_call1(SYS_sched_getscheduler, 0) & ~(long)SCHED_RESET_ON_FORK) == SCHED_IDLE;
}

/* Freezes, and keeps all FROZEN until the fork is over. The lock is not held meanwhile: a fork may take long
 * (CLONE_VFORK), and runs other libraries' atfork handlers, which may wait for a thread that waits for the lock. Other
 * threads may change a FROZEN region at any moment, and a region that is made meanwhile is FROZEN from its start. */
static int freeze_for_fork(const void *frame)
{
	uint64_t mask;
	int error;
	bool strays;

	region_meet_child();
	/* Waits for states that pass, without the lock. */
	for (unsigned tries = 0; tries < TRIES && may_stall_others(); tries++) {
		error = region_order_freeze(frame, 0);
		if (error == 0)
			return 0;
		if (error == ESRCH)
			break;
		region_pause_ms(1);
	}
	for (unsigned tries = 0;; tries++) {
		region_lock(&mask);
		(void)region_leave_strays(region_keeper_settling() == ODF_REGION_SETTLES_ALWAYS &&
					  (tries < TRIES_TO_FREEZE || keeper_is_at_it()));
		error = freeze_or_give_up(tries);
		strays = region_leave_strays(false);
		if (error == 0)
			region_pending_begin(frame);
		region_unlock(&mask);
		if (error == 0 || tries == TRIES)
			return error;
		/* The keeper can freeze what this thread cannot. Before the call fails it is waited for, as it may have
		 * to wait for a processor: it has the file, by which a region can be given up without views. */
		if ((strays || region_address_space_is_limited() || tries == TRIES - 1) &&
		    region_order_freeze(frame, tries == TRIES - 1 ? KEEPER_MOST_MS : 0) == 0)
			return 0;
		region_keeper_call(); /* it can make what this thread lacks */
		region_pause_ms(1);
	}
}

static void fork_is_over(const void *here)
{
	region_pending_end(here); /* nothing in a child */
	region_keeper_notify();
}

void region_note_odd_child(void)
{
	atomic_store_explicit(&odd_children, true, memory_order_relaxed);
}

bool region_has_odd_children(void)
{
	return atomic_load_explicit(&odd_children, memory_order_relaxed);
}

void region_memory_is_shared(void)
{
	atomic_store_explicit(&memory_is_shared, true, memory_order_relaxed);
}

/* Forks by a process in the place of a thread (region_stand_in_begin); and of these, for a thread that is not alone. */
static atomic_int stand_ins, crowded_stand_ins;

bool region_stand_in_begin(void)
{
	bool alone = region_has_one_thread();

	atomic_fetch_add(&crowded_stand_ins, !alone);
	atomic_fetch_add(&stand_ins, 1);
	return alone;
}

void region_stand_in_end(bool alone)
{
	atomic_fetch_sub(&stand_ins, 1);
	atomic_fetch_sub(&crowded_stand_ins, !alone);
}

void region_stand_in_child(void)
{
	atomic_store(&stand_ins, 0);
	atomic_store(&crowded_stand_ins, 0);
}

bool region_has_one_thread(void)
{
	return !atomic_load_explicit(&memory_is_shared, memory_order_relaxed) &&
	       atomic_load_explicit(&crowded_stand_ins, memory_order_relaxed) == 0 && tasks_count() == 1;
}

/* How often the caller looks whether the keeper has done it. The keeper may be stopped, or wait for a processor: then
 * memory out of reach stays young until the keeper runs, and nobody waits for that again. */
#define LOOKS_FOR_REACH 100

void region_reach(void)
{
	struct timespec moment = { 0, 50000 };

	/* Without regions no call is made that a filter might refuse. */
	if (!atomic_load_explicit(&region_reach_wanted, memory_order_relaxed))
		return;
	region_meet_child();
	if (region_bytes() == 0 || !region_keeper_runs() || may_stall_others())
		return; /* the keeper does it with the freeze */
	region_keeper_call();
	if (atomic_load(&region_reach_is_late))
		return;
	for (unsigned looks = 0; looks < LOOKS_FOR_REACH && atomic_load(&region_reach_wanted); looks++)
		(void)sys_call2(SYS_nanosleep, &moment, NULL);
	/* In this order: the keeper may be resetting both. */
	atomic_store(&region_reach_is_late, true);
	if (!atomic_load(&region_reach_wanted))
		atomic_store(&region_reach_is_late, false);
}

int region_fork_begin(uint64_t *mark)
{
	int error;

	region_at_fork_settle();
	region_reach(); /* else memory where the views do not reach stays young */
	error = freeze_for_fork(mark);
	*mark = region_clock();
	if (error == 0)
		region_pending_mark(mark);
	region_at_fork_begin();
	return error;
}

void region_fork_end(int child)
{
	region_at_fork_end();
	if (child > 0)
		region_keeper_child(child);
	fork_is_over(__builtin_frame_address(0));
}

void region_in_child(void)
{
	region_meet_child();
}

void region_doubt_all(void)
{
	uint64_t mask;

	region_lock(&mask);
	for (struct odf_region *region = region_list; region != NULL; region = region->next) {
		region->doubt = true; /* invariant 5 */
		region->file = region->second_file = region->token_file = region->spare_file = -1;
		region->older_file = -1;
	}
	region_unlock(&mask);
}

void region_forget_one(struct odf_region *region)
{
	uint64_t mask;

	region_lock(&mask);
	for (struct odf_region **link = &region_list; *link != NULL; link = &(*link)->next)
		if (*link == region) {
			*link = region->next;
			break;
		}
	region_unlock(&mask);
}

void (*region_on_giving_way)(void);

/* A region that the program has created is not given up for a fork: the program knows that it has one process more, and
 * can fork when there is room again. */
bool region_give_way(void)
{
	if (!region_keeper_is_ours())
		return false;
	if (region_on_giving_way != NULL)
		region_on_giving_way();
	if (region_order_now(REGION_DRAIN, NULL) != 0 || !region_keeper_stop_now())
		return false;
	region_doubt_all();
	return true;
}

/* One load, as a rule. */
static void end_idle_keeper(void)
{
	/* It is not the child of a stand-in, or of another process that shares this memory. */
	if (atomic_load_explicit(&stand_ins, memory_order_relaxed) == 0 && region_keeper_is_idle() &&
	    region_keeper_is_ours() && region_order_now(REGION_DRAIN, NULL) == 0)
		(void)region_keeper_stop_now();
}

void region_part_with_keeper(void)
{
	if (!region_keeper_runs() || region_bytes() != 0)
		return;
	if (region_order_now(REGION_DRAIN, NULL) == 0 && region_keeper_stop_now())
		return;
	region_keeper_leave_alone();
}

size_t region_resident_bytes(void)
{
	uint64_t sum = 0;

	if (region_bytes() == 0 || region_order_now(REGION_RESIDENT, &sum) != 0)
		return 0;
	return (size_t)sum;
}


/* The atfork handlers. The frame of `prepare`, if `parent` has to end what it began. */
static _Thread_local const void *pending_frame __attribute__((tls_model("initial-exec")));

/* This thread is between region_fork_begin and region_fork_end, and all is still FROZEN. */
static bool is_bracketed(const void *here)
{
	uint64_t mask;
	bool is = region_pending_has(here);

	if (!is || may_stall_others()) /* nothing becomes LIVE while there is one */
		return is;
	region_lock(&mask);
	for (const struct odf_region *region = region_list; region != NULL && is; region = region->next)
		is = region->visible || region->left || region_is_empty(region);
	region_unlock(&mask);
	return is;
}

static void prepare(void)
{
	const void *frame = __builtin_frame_address(0);

	end_idle_keeper();
	region_reach();
	/* If all tries fail, the child lacks the LIVE memory (invariant 3) and finds the region absent. */
	pending_frame = region_bytes() > 0 && !is_bracketed(frame) && freeze_for_fork(frame) == 0 ? frame : NULL;
}

static void parent(void)
{
	if (pending_frame == NULL)
		return;
	(void)region_pending_has(pending_frame); /* it is not any more */
	pending_frame = NULL;
	region_keeper_notify();
}

static void child(void)
{
	pending_frame = NULL;
	region_meet_child();
}

/* Runs before the program's constructors, so that our prepare handler runs among the last: what other handlers write
 * before it is in the snapshot without a copy. */
__attribute__((constructor(101))) static void register_handlers(void)
{
	(void)pthread_atfork(prepare, parent, child); /* fails only for lack of memory, in a process that has
	                                                 just started */
}
