/* SPDX-License-Identifier: MIT
 *
 * Asleep, awake or off. The heap may wake within any call that maps memory, so within an allocator that holds its
 * locks, or in a signal handler. Therefore waking makes a region and nothing else: no thread, no allocation.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "../record/settings.h"
#include "../sys/process_lock.h"
#include "../sys/seen.h"
#include "../sys/statm.h"
#include "../sys/structure.h"
#include "../sys/userfault.h"
#include "internal.h"

atomic_int heap_home_count;
struct heap_home heap_homes[HEAP_HOMES];
atomic_long heap_budget;

static _Atomic(odf_region *) region;
static atomic_int state = ODF_HEAP_OFF;
static atomic_int reason = ODF_REASON_HEAP_NOT_INTERPOSED;
static struct process_lock waking;
static atomic_size_t placed, spilled;
/* the process that has the current region; a child of vfork runs on this memory and is another one */
static atomic_int owner;
static size_t capacity_wanted;
static int wakings; /* under `waking`: the last value given to heap_watched, never 0 */
static size_t threshold = HEAP_THRESHOLD;

SEEN_THE_VALUE(region, "heap_region", region);
SEEN_THE_VALUE(state, "heap_state", state);
SEEN_THE_VALUE(reason, "heap_reason", reason);
SEEN_THE_VALUE(owner, "heap_owner", owner);
SEEN_THE_VALUE(placed, "heap_placed", placed);
SEEN_THE_VALUE(spilled, "heap_spilled", spilled);
SEEN_THE_VALUE(threshold, "heap_threshold", threshold);

odf_region *heap_region(void)
{
	odf_region *current = atomic_load_explicit(&region, memory_order_acquire);
	odf_reason why;

	if (current == NULL || !region_has_left(current, &why) || region_is_inherited(current))
		return current;
	heap_retire(why); /* the region has given itself up */
	return NULL;
}

odf_heap_state heap_state(void)
{
	return (odf_heap_state)atomic_load_explicit(&state, memory_order_acquire);
}

size_t heap_threshold(void)
{
	return threshold;
}

void heap_note_placed(size_t bytes)
{
	atomic_fetch_add_explicit(&placed, bytes, memory_order_relaxed);
}

void heap_note_spill(void)
{
	atomic_fetch_add_explicit(&spilled, 1, memory_order_relaxed);
}

/* The record of each fork then has this reason. */
static void turn_off_for(odf_reason why)
{
	atomic_store(&reason, (int)why);
	region_note_absence(why);
}

void heap_retire(odf_reason why)
{
	int awake = ODF_HEAP_AWAKE;

	if (atomic_compare_exchange_strong(&state, &awake, ODF_HEAP_OFF))
		turn_off_for(why);
	atomic_store(&region, NULL);
}

bool heap_is_owner(void)
{
	return atomic_load(&owner) == sys_call0(SYS_getpid);
}

void heap_stay_asleep(odf_reason why)
{
	int asleep = ODF_HEAP_ASLEEP;

	if (atomic_compare_exchange_strong(&state, &asleep, ODF_HEAP_OFF))
		turn_off_for(why);
}

static void add_home(odf_region *fresh)
{
	int count = atomic_load(&heap_home_count);
	char *base = odf_region_base(fresh);

	heap_homes[count] = (struct heap_home){ base, base + odf_region_capacity(fresh), fresh };
	atomic_store_explicit(&heap_home_count, count + 1, memory_order_release);
}

static bool is_unmet(void);
static int wake(void);

/* The heap has not woken: nothing is known of the filters that the process was started with until it has forked. */
static atomic_bool waits_for_a_fork;

/* The program has mapped more than it may ever use, and may use it without a further call. */
static atomic_bool has_reserved;

void heap_note_reserved(void)
{
	atomic_store_explicit(&has_reserved, true, memory_order_relaxed);
}

/* Memory that is mapped and not yet used wakes the heap when it is this many times the threshold. */
#define UNUSED_THRESHOLDS 2

/* A look takes some microseconds. At most one fork in LOOK_NS pays for it; the atfork handler that runs after the
 * interposed fork does not look again. */
#define LOOK_NS 1000000u

static bool has_grown(void)
{
	static _Atomic(uint64_t) looked_ns;
	struct timespec time;
	uint64_t now;

	if (settings->heap == SETTINGS_HEAP_ON || heap_was_asked_for())
		return true;
	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	now = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
	if (now - atomic_load_explicit(&looked_ns, memory_order_relaxed) < LOOK_NS)
		return false;
	atomic_store_explicit(&looked_ns, now, memory_order_relaxed);
	return statm_private_bytes() >= threshold;
}

/* Makes no system call unless the heap waits for a fork or another thread, memory was reserved, or regions were
 * inherited. */
void heap_before_fork(void)
{
	bool may_wake = (atomic_load_explicit(&waits_for_a_fork, memory_order_relaxed) && !heap_waits_for_a_fork()) ||
			region_keeper_was_refused() || atomic_load_explicit(&has_reserved, memory_order_relaxed);

	if (may_wake && heap_state() == ODF_HEAP_ASLEEP && has_grown())
		(void)wake(); /* no later call may show the growth */
	if ((is_unmet() || (heap_has_inherited() && !heap_is_off_for_good())) && !heap_is_guest()) {
		heap_meet_child();
		heap_look_at_inherited();
	}
}

/* The heap was off, and may wake again. */
static void fall_asleep(void)
{
	atomic_store(&heap_budget, (long)threshold);
	turn_off_for(ODF_REASON_NONE);
	atomic_store(&reason, ODF_REASON_TOO_SMALL);
	atomic_store(&state, ODF_HEAP_ASLEEP);
}

bool heap_is_off_for_good(void)
{
	return heap_state() == ODF_HEAP_OFF && atomic_load(&reason) != ODF_REASON_HEAP_NO_ROOM;
}

void heap_has_room_again(void)
{
	if (heap_state() == ODF_HEAP_OFF && atomic_load(&reason) == ODF_REASON_HEAP_NO_ROOM)
		fall_asleep();
}

/* By the time it has grown, the child may have closed what its parent had open. */
static void forget_descriptors(void)
{
	switch (atomic_load(&reason)) {
	case ODF_REASON_HEAP_PINS:
	case ODF_REASON_HEAP_FILE_SYSTEM:
	case ODF_REASON_HEAP_DEVICE:
	case ODF_REASON_HEAP_USERFAULT:
		fall_asleep();
		break;
	default:
		break;
	}
}

static void end_fork(void)
{
	heap_note_forker();
	heap_note_fork();
}

static void begin_child(void)
{
	heap_note_fork();
	heap_note_process_quietly();
	userfault_forget_own();
	forget_descriptors();
}

/* Asks about filters before anything is done that they could punish. 0 or an errno value, as below. */
static int ask_filters(void)
{
	static atomic_bool asking;
	int asleep = ODF_HEAP_ASLEEP, error = EAGAIN;

	if (atomic_exchange(&asking, true))
		return EBUSY;
	if (!atomic_load(&waits_for_a_fork) || !heap_waits_for_a_fork())
		error = heap_filters_permit();
	atomic_store(&waits_for_a_fork, error == EAGAIN);
	if (error == EAGAIN) {
		atomic_store(&reason, ODF_REASON_HEAP_SANDBOX);
		atomic_store_explicit(&heap_budget, (long)(threshold / 8), memory_order_relaxed);
	} else if (error != 0 && atomic_compare_exchange_strong(&state, &asleep, ODF_HEAP_OFF)) {
		atomic_store(&reason, error == ENOTSUP ? ODF_REASON_HEAP_NO_SETTLING : ODF_REASON_HEAP_SANDBOX);
	}
	atomic_store(&asking, false);
	return error;
}

/* 0 or an errno value; EBUSY and EAGAIN: try again later. The caller has all signals blocked, so that no handler leaves
 * this halfway. */
static int wake_undisturbed(void)
{
	odf_region *fresh = NULL;
	odf_reason obstacle;
	int error = 0, saved = errno, asleep = ODF_HEAP_ASLEEP, asleep_for, was_watched;

	if (!process_lock_try(&waking))
		return EBUSY;
	heap_note_in_page();
	asleep_for = atomic_load(&reason);
	if (atomic_load(&state) != ODF_HEAP_ASLEEP) {
		process_lock_release(&waking);
		return 0;
	}
	was_watched = atomic_exchange(&heap_watched, ++wakings); /* before the look at what is open */
	fresh = heap_make_region(&obstacle, &error);
	if (fresh != NULL) {
		/* Before add_home: a thread that finds a home asks for its owner. */
		atomic_store(&owner, (int)sys_call0(SYS_getpid));
		add_home(fresh);
		/* Another thread may have turned the heap off since that look, or may be doing so, for a reason of its
		 * own. That holds: nothing is put into the region then. */
		(void)atomic_compare_exchange_strong(&reason, &asleep_for, ODF_REASON_NONE);
		atomic_store(&region, fresh);
		if (!atomic_compare_exchange_strong(&state, &asleep, ODF_HEAP_AWAKE)) {
			atomic_store(&region, NULL);
			if (heap_leave_all((odf_reason)atomic_load(&reason)))
				atomic_store(&heap_watched, 0);
		}
	} else if (error != EBUSY) {
		if (obstacle == ODF_REASON_NONE)
			obstacle = ODF_REASON_HEAP_NO_ROOM;
		turn_off_for(obstacle);
		atomic_store(&state, ODF_HEAP_OFF);
	}
	if (fresh == NULL && !was_watched)
		atomic_store(&heap_watched, 0);
	process_lock_release(&waking);
	errno = saved;
	if (fresh != NULL)
		return 0;
	return error == EBUSY ? EBUSY : obstacle == ODF_REASON_HEAP_NO_ROOM ? ENOMEM : ENOTSUP;
}

/* The keeper would be limited like the calling thread. The next thread that grows or forks tries to wake the heap. */
static int leave_it_to_others(void)
{
	int asleep_for = atomic_load(&reason);

	if (heap_state() == ODF_HEAP_ASLEEP) /* else another thread has set a reason */
		(void)atomic_compare_exchange_strong(&reason, &asleep_for, ODF_REASON_HEAP_PROCESS);
	atomic_store_explicit(&heap_budget, (long)(threshold / 8), memory_order_relaxed);
	return EBUSY;
}

static int wake(void)
{
	uint64_t all = ~0ull, mask;
	int error;

	error = ask_filters();
	if (error != 0)
		return error == EBUSY || error == EAGAIN ? error : ENOTSUP;
	if (!region_keeper_may_start())
		return leave_it_to_others();
	if (heap_is_guest())
		return ENOTSUP;
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	error = wake_undisturbed();
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	if (error == 0 && heap_state() == ODF_HEAP_AWAKE)
		heap_open_early_windows();
	return error == EBUSY && !region_keeper_may_start() ? leave_it_to_others() : error;
}

size_t heap_window_capacity(void)
{
	return heap_capacity(capacity_wanted);
}

static void open_window_undisturbed(void *start, size_t length, int rights)
{
	odf_region *fresh = NULL;
	odf_reason obstacle;
	int error = 0, saved = errno;

	if (!process_lock_try(&waking))
		return;
	if (heap_state() == ODF_HEAP_AWAKE)
		fresh = heap_make_window_region(start, length, rights, &obstacle, &error);
	if (fresh != NULL) {
		add_home(fresh);
		/* Another thread may have made the heap leave since. */
		if (heap_state() != ODF_HEAP_AWAKE) {
			(void)heap_leave_all((odf_reason)atomic_load(&reason));
		} else {
			heap_take_early(fresh, start, length);
			heap_share_young(fresh);
		}
	}
	process_lock_release(&waking);
	errno = saved;
}

void heap_open_window(void *start, size_t length, int rights)
{
	uint64_t all = ~0ull, mask;

	if (heap_state() != ODF_HEAP_AWAKE || heap_is_guest() || !heap_is_owner())
		return;
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	open_window_undisturbed(start, length, rights);
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
}

/* If memory in use cannot be taken into a region, mapped memory must be in one before it is used. */
static bool is_about_to_grow(void)
{
	return statm_data_bytes() >= UNUSED_THRESHOLDS * threshold && ask_filters() == 0 && !heap_may_be_young();
}

void heap_grows(size_t bytes)
{
	size_t private;

	heap_meet_child(); /* a child may grow by its very first call */
	if (heap_state() != ODF_HEAP_ASLEEP)
		return;
	if (bytes < threshold) {
		/* The process cannot have crossed the threshold before it has asked for this much. */
		if (atomic_fetch_sub_explicit(&heap_budget, (long)bytes, memory_order_relaxed) - (long)bytes > 0)
			return;
		private = statm_private_bytes();
		if (private < threshold && !is_about_to_grow()) {
			size_t rest = threshold - private;
			heap_note_reserved();
			atomic_store_explicit(&heap_budget, (long)(rest > threshold / 8 ? rest : threshold / 8),
					      memory_order_relaxed);
			return;
		}
	}
	(void)wake();
}

/* The generation for which heap_meet_child was last done. */
static atomic_uint met;

static bool is_unmet(void)
{
	return atomic_load_explicit(&met, memory_order_relaxed) != region_generation();
}

/* The region that was current is ordinary memory in a child; and the child is small again, and may grow. */
void heap_meet_child(void)
{
	odf_region *current = heap_region();
	unsigned generation = region_generation(), known = atomic_load_explicit(&met, memory_order_relaxed);
	uint64_t mask;

	if (known == generation || !atomic_compare_exchange_strong(&met, &known, generation))
		return; /* nothing has changed, or another thread is doing it */
	region_lock(&mask);
	for (int i = 0; i < atomic_load(&heap_home_count); i++)
		heap_forget_what_is_not_here(heap_homes[i].region, (size_t)(heap_homes[i].end - heap_homes[i].start));
	region_unlock(&mask);
	heap_forget_windows();
	heap_inherit();
	if (current == NULL || !region_is_inherited(current))
		return;
	atomic_store(&region, NULL);
	atomic_store(&placed, 0);
	atomic_store(&spilled, 0);
	atomic_store(&heap_budget, (long)threshold);
	atomic_store(&reason, ODF_REASON_TOO_SMALL);
	atomic_store(&heap_watched, 0);
	atomic_store(&state, ODF_HEAP_ASLEEP);
}

/* For a fork that would fail because of the keeper. */
static void give_way(void)
{
	heap_leave(ODF_REASON_HEAP_PROCESS);
}

bool heap_is_wanted(bool preloaded)
{
	return settings->heap == SETTINGS_HEAP_ON || (settings->heap == SETTINGS_HEAP_AUTO && preloaded);
}

void heap_open_doors(bool preloaded)
{
	region_on_giving_way = give_way;
	if (!heap_is_wanted(preloaded)) {
		atomic_store(&reason, ODF_REASON_HEAP_OFF);
		return;
	}
	(void)pthread_atfork(heap_before_fork, end_fork, begin_child);
	heap_note_first_process(preloaded);
	capacity_wanted = settings->heap_capacity;
	atomic_store(&heap_budget, (long)threshold);
	atomic_store(&reason, ODF_REASON_TOO_SMALL);
	atomic_store(&state, ODF_HEAP_ASLEEP);
	heap_see_malloc();
	if (settings->heap == SETTINGS_HEAP_ON)
		(void)wake();
}

#define BUSY_MOST 2000

int odf_heap_enable(size_t capacity)
{
	int error;

	if (capacity > HEAP_CAPACITY_MOST)
		return EINVAL;
	heap_meet_child();
	if (heap_state() == ODF_HEAP_AWAKE) {
		heap_note_asked_for();
		return 0;
	}
	/* The user's settings override the program. */
	if (atomic_load(&reason) == ODF_REASON_HEAP_NOT_INTERPOSED || settings->heap == SETTINGS_HEAP_OFF)
		return ENOTSUP;
	if (capacity != 0)
		capacity_wanted = capacity;
	atomic_store(&state, ODF_HEAP_ASLEEP);
	heap_note_asked_for();
	if (ask_filters() == 0)
		heap_see_malloc();
	/* EBUSY: another thread makes or ends a region, or this thread must not start the keeper */
	for (unsigned tries = 0; (error = wake()) == EBUSY && region_keeper_may_start() && tries < BUSY_MOST; tries++) {
		struct timespec moment = { 0, 1000000 };
		(void)sys_call2(SYS_nanosleep, &moment, NULL);
	}
	if (error == EAGAIN) /* nothing is known yet of the sandbox that the process is in */
		error = ENOTSUP;
	return error;
}

int odf_heap_info_get(odf_heap_info *info)
{
	odf_heap_info found = ODF_HEAP_INFO_INIT;
	odf_region *current;
	int error, saved = errno;

	if (info == NULL)
		return EINVAL;
	error = structure_check_output(info, STRUCTURE_UP_TO(odf_heap_info, spills));
	if (error != 0)
		return error;
	heap_meet_child();
	current = heap_region();
	found.size = sizeof found;
	found.state = heap_state();
	found.reason = (odf_reason)atomic_load(&reason);
	found.malloc_door = heap_malloc_door();
	found.threshold = threshold;
	found.capacity = current != NULL ? heap_window_capacity() : 0;
	found.placed_bytes = atomic_load(&placed);
	found.spills = atomic_load(&spilled);
	found.inside_bytes = 0;
	for (int i = 0; i < atomic_load(&heap_home_count); i++) /* 0 for inherited regions */
		found.inside_bytes += (size_t)region_resident(heap_homes[i].region);
	found.outside_bytes = statm_private_bytes();
	structure_write(info, &found, sizeof found);
	errno = saved;
	return 0;
}
