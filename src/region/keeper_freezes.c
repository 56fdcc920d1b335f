/* SPDX-License-Identifier: MIT
 *
 * Freezes that the keeper makes for the program's forks: for a SCHED_IDLE thread, which the kernel may leave waiting
 * for a processor, and for a thread that lacks what the keeper has. A thread that waits for its freeze holds no lock,
 * as other threads would then wait for it: each has an entry of its own. A thread that is not served freezes by itself.
 *
 * Async-signal-safe.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <time.h>

#include "keeper.h"

#define FREEZES 8
enum { UNUSED, WRITTEN_TO, WANTED, BEING_MADE, DONE };

static struct freeze {
	const void *frame; /* of the thread below */
	int process, thread, error;
	atomic_int state;
} freezes[FREEZES];

/* ---- By the forking thread ---- */

#define LOOK_MS 100u
#define LOOK_NS (1000000l * LOOK_MS)

static struct freeze *take_unused(void)
{
	for (struct freeze *freeze = freezes; freeze < freezes + FREEZES; freeze++) {
		int was = UNUSED;
		if (atomic_compare_exchange_strong(&freeze->state, &was, WRITTEN_TO))
			return freeze;
	}
	return NULL;
}

/* If the keeper that was asked has ended, a new one makes the freeze. */
static int wait_for(struct freeze *freeze, unsigned looks)
{
	for (;;) {
		struct timespec moment = { 0, LOOK_NS }; /* the keeper's end does not wake this futex */
		int state = atomic_load(&freeze->state), error = ESRCH;
		/* Once the keeper has begun, its result is waited for. */
		if (looks == 0 && state == WANTED && atomic_compare_exchange_strong(&freeze->state, &state, UNUSED))
			return EBUSY;
		if (state != DONE && atomic_load(&keeper.id) != 0) {
			if (sys_call4(SYS_futex, &freeze->state, FUTEX_WAIT_PRIVATE, state, &moment) == -ETIMEDOUT) {
				region_keeper_rouse();
				looks -= looks > 0 && looks != UINT_MAX;
			}
			continue;
		}
		if (state == DONE)
			error = freeze->error;
		/* Fails if a new keeper has just begun it. */
		if (atomic_compare_exchange_strong(&freeze->state, &state, UNUSED))
			return error;
	}
}

int region_order_freeze(const void *frame, unsigned most_ms)
{
	uint64_t all = ~0ull, mask;
	struct freeze *freeze;
	int error = EBUSY;

	if (!region_keeper_runs())
		return ESRCH;
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask); /* a signal handler might not return */
	freeze = take_unused();
	if (freeze != NULL) {
		freeze->frame = frame;
		freeze->process = (int)sys_call0(SYS_getpid);
		freeze->thread = (int)sys_call0(SYS_gettid);
		atomic_store(&freeze->state, WANTED);
		region_keeper_call();
		error = wait_for(freeze, most_ms == 0 ? UINT_MAX : most_ms / LOOK_MS + 1);
	}
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	return error;
}

void region_resume_freezes(void)
{
	for (struct freeze *freeze = freezes; freeze < freezes + FREEZES; freeze++) {
		int was = BEING_MADE;
		(void)atomic_compare_exchange_strong(&freeze->state, &was, WANTED);
	}
}

void region_forget_freezes(void)
{
	for (struct freeze *freeze = freezes; freeze < freezes + FREEZES; freeze++)
		atomic_store(&freeze->state, UNUSED);
}

/* ---- By the keeper ---- */

bool keeper_has_freezes(void)
{
	for (const struct freeze *freeze = freezes; freeze < freezes + FREEZES; freeze++)
		if (atomic_load(&freeze->state) == WANTED)
			return true;
	return false;
}

static int make(const struct freeze *freeze)
{
	bool gives_up = false;
	int error;

	(void)keeper_reach_all(); /* if this fails, memory out of reach stays young */
	region_lock_as_keeper();
	error = region_freeze_all();
	for (const struct odf_region *region = region_list; error != 0 && region != NULL; region = region->next)
		gives_up = gives_up || (region->left_reason != ODF_REASON_NONE && !region->left);
	if (gives_up) /* the forking thread has tried, but lacks the file */
		error = region_give_up_all(ODF_REASON_REGION_REFUSED);
	if (error == 0)
		region_pending_begin_of(freeze->process, freeze->thread, freeze->frame);
	region_unlock_as_keeper();
	keeper_note_idle_fork();
	return error;
}

void keeper_make_freezes(void)
{
	for (struct freeze *freeze = freezes; freeze < freezes + FREEZES; freeze++) {
		int was = WANTED;
		if (!atomic_compare_exchange_strong(&freeze->state, &was, BEING_MADE))
			continue;
		freeze->error = make(freeze);
		atomic_store(&freeze->state, DONE);
		(void)sys_call3(SYS_futex, &freeze->state, FUTEX_WAKE_PRIVATE, 1);
	}
}
