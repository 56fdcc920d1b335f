/* SPDX-License-Identifier: MIT
 *
 * Forks under way: nothing may become LIVE while there are any. Each has a note of its thread and of the address of its
 * frame, as the thread may never reach the function that ends the fork: a signal handler or an atfork handler may leave
 * by siglongjmp, and the thread may be cancelled. A note is void if its thread has ended, if its thread has returned
 * past the frame, or if other functions have overwritten the frame: the time that was stored there has changed. A note
 * for which none of these is seen cannot be dropped: after STUCK_NS the region is given up, which is right at each
 * moment of a fork. Time for which the program was stopped does not count: of the time between two looks at most
 * LOOK_NS counts.
 *
 * Begun under the lock. Ended by the thread itself without the lock, as a thread that may wait for a processor must not
 * hold it; holders of the lock drop notes that are over. Async-signal-safe.
 */
#include <errno.h>
#include <signal.h>

#include "../sys/readable.h"
#include "internal.h"

#define NOTES    256
#define STUCK_NS 60000000000u
#define LOOK_NS  5000000000u

static unsigned region_forks_pending; /* includes forks that are over and not dropped */

static struct note {
	int process;
	atomic_int thread; /* its id; negated: its fork is over, and the thread no longer touches the note; 0: unused */
	const char *frame;
	uint64_t since;
	uint64_t moment; /* the value at `frame` while the fork is under way; 0: not known */
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

/* Without the lock: while the thread lives and its fork is not over, only the thread itself drops the note. */
static bool is_of(struct note *note, int thread)
{
	return atomic_load(&note->thread) == thread;
}

/* Fails if a signal handler has dropped the note meanwhile, which may be another thread's now. */
static void end(struct note *note, int thread)
{
	(void)atomic_compare_exchange_strong(&note->thread, &thread, -thread);
}

/* Also true if the stack is unmapped, as a coroutine's may be. */
static ODF_UNINSTRUMENTED bool is_overwritten(const struct note *note)
{
	return note->moment != 0 && (!sys_is_readable(note->frame, sizeof note->moment) ||
				     *(const volatile uint64_t *)(const void *)note->frame != note->moment);
}

/* For a note of the calling thread, whose frames are at `here` and below: the stack grows down. Addresses on two stacks
 * cannot be compared. */
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
	if (unused == NULL) { /* no room to note this fork */
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

/* Forks of one thread end in the reverse order. */
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

/* Of the time since the last look. */
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
