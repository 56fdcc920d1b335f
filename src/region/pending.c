/* SPDX-License-Identifier: MIT
 *
 * Forks that are under way: nothing may become LIVE while there are any. Each is noted with its thread and the
 * address of its frame, as control need not come back to where it ends: a handler, of a signal or of atfork, may
 * leave it by siglongjmp, and a thread may be cancelled in it. A note of a thread that has ended, or that has since
 * returned past the frame, is void; and so is one whose frame other functions have written over since: the moment
 * that it has there is not there any more. One of which nothing of this is seen is void to nobody: after STUCK_NS the
 * region is given up, which is right at each moment of a fork. Not for the time for which the program was stopped: of
 * what passes between two looks LOOK_NS count.
 *
 * Begun under the lock. Ended without it, by the thread itself, as a thread that the kernel leaves waiting for a
 * processor is not to have the lock meanwhile: who has the lock drops what is over. Async-signal-safe.
 */
#include <errno.h>
#include <signal.h>

#include "../sys/readable.h"
#include "internal.h"

#define NOTES    256
#define STUCK_NS 60000000000u
#define LOOK_NS  5000000000u

static unsigned region_forks_pending; /* those that are over and not dropped count */

static struct note {
	int process;
	atomic_int thread; /* its id; negated: over, by the thread itself, which does not touch it any more; 0: none */
	const char *frame;
	uint64_t since;
	uint64_t moment; /* what is at `frame` as long as the fork is under way; 0: not known */
} notes[NOTES];

static void drop(struct note *note)
{
	atomic_store(&note->thread, 0);
	region_forks_pending--;
}

static void drop_those_that_are_over(void)
{
	for (struct note *note = notes; note < notes + NOTES && region_forks_pending > 0; note++)
		if (atomic_load(&note->thread) < 0)
			drop(note);
}

bool region_has_pending_forks(void)
{
	if (region_forks_pending > 0)
		drop_those_that_are_over();
	return region_forks_pending > 0;
}

/* Without the lock: nobody else changes a note of a thread that is alive, until it is over. */
static bool is_of(struct note *note, int thread)
{
	return atomic_load(&note->thread) == thread;
}

/* Unless a handler has dropped it meanwhile, and the note is another's. */
static void end(struct note *note, int thread)
{
	(void)atomic_compare_exchange_strong(&note->thread, &thread, -thread);
}

/* Also where the stack is gone, as those of coroutines may be. */
static ODF_UNINSTRUMENTED bool is_overwritten(const struct note *note)
{
	return note->moment != 0 && (!sys_is_readable(note->frame, sizeof note->moment) ||
				     *(const volatile uint64_t *)(const void *)note->frame != note->moment);
}

/* Of the calling thread, which is at `here` and lower: the stack grows down. Addresses of two stacks say nothing
 * about each other. */
static bool is_void(const struct note *note, const char *here)
{
	stack_t other = { .ss_flags = SS_DISABLE };
	bool was_there, is_there;

	if (is_overwritten(note))
		return true;
	if (sys_call2(SYS_sigaltstack, NULL, &other) < 0 || (other.ss_flags & SS_DISABLE))
		return note->frame <= here;
	was_there = note->frame >= (char *)other.ss_sp && note->frame < (char *)other.ss_sp + other.ss_size;
	is_there = other.ss_flags & SS_ONSTACK;
	return was_there == is_there ? note->frame <= here : was_there;
}

static struct note *find_unused(void)
{
	for (struct note *note = notes; note < notes + NOTES; note++)
		if (atomic_load(&note->thread) == 0)
			return note;
	return NULL;
}

void region_pending_begin_of(int process, int thread, const void *frame)
{
	struct note *unused;

	drop_those_that_are_over();
	unused = find_unused();
	if (unused == NULL) { /* so many that one may not be told apart from the next */
		(void)region_give_up_all(ODF_REASON_HEAP_NO_SETTLING);
		return;
	}
	unused->process = process;
	unused->frame = frame;
	unused->since = region_clock();
	unused->moment = 0;
	atomic_store(&unused->thread, thread);
	region_forks_pending++;
}

void region_pending_begin(const void *frame)
{
	int thread = (int)sys_call0(SYS_gettid);

	for (struct note *note = notes; note < notes + NOTES && region_forks_pending > 0; note++)
		if (is_of(note, thread) && is_void(note, frame))
			drop(note);
	region_pending_begin_of((int)sys_call0(SYS_getpid), thread, frame);
}

void region_pending_mark(const uint64_t *frame)
{
	int thread = (int)sys_call0(SYS_gettid);

	for (struct note *note = notes; note < notes + NOTES; note++)
		if (is_of(note, thread) && note->frame == (const char *)frame) {
			note->moment = *frame;
			return;
		}
}

bool region_pending_has(const void *here)
{
	int thread = (int)sys_call0(SYS_gettid);
	bool found = false;

	for (struct note *note = notes; note < notes + NOTES; note++) {
		if (!is_of(note, thread))
			continue;
		if (is_void(note, here))
			end(note, thread);
		else
			found = true;
	}
	return found;
}

/* Forks of one thread end in the reverse order of their beginnings. */
void region_pending_end(const void *here)
{
	int thread = (int)sys_call0(SYS_gettid);
	struct note *last = NULL;

	for (struct note *note = notes; note < notes + NOTES; note++) {
		if (!is_of(note, thread))
			continue;
		if (is_void(note, here))
			end(note, thread);
		else if (last == NULL || note->frame < last->frame)
			last = note;
	}
	if (last != NULL)
		end(last, thread);
}

void region_pending_forget(void)
{
	for (struct note *note = notes; note < notes + NOTES; note++)
		atomic_store(&note->thread, 0);
	region_forks_pending = 0;
}

/* Since the last look. */
static uint64_t time_that_does_not_count(uint64_t now)
{
	static uint64_t last_ns;
	uint64_t since = now - last_ns;

	last_ns = now;
	return since > LOOK_NS ? since - LOOK_NS : 0;
}

bool region_pending_check(void)
{
	uint64_t now = region_clock(), lost = time_that_does_not_count(now);
	bool stuck = false;

	drop_those_that_are_over();
	for (struct note *note = notes; note < notes + NOTES && region_forks_pending > 0; note++) {
		int thread = atomic_load(&note->thread);
		if (thread <= 0)
			continue;
		note->since = now - note->since > lost ? note->since + lost : now;
		if (sys_call3(SYS_tgkill, note->process, thread, 0) == -ESRCH)
			drop(note);
		else
			stuck = stuck || now - note->since > STUCK_NS;
	}
	return stuck;
}
