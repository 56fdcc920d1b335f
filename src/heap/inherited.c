/* SPDX-License-Identifier: MIT
 *
 * What a child does with regions that it inherited. While the process that made them lives, they are views of files
 * that it needs, and the child's writes cost what writes after a fork always cost. When that process has ended, file
 * pages that the child has replaced or given back are of no use to any process. So the child parts with the file
 * (region/part.c) as soon as what it would have to copy is little compared to what becomes free. From then on its
 * memory is anonymous, and its own heap can adopt it.
 *
 * This happens within calls that the child makes anyway, and only in a process of one thread, as no other thread may
 * write during the copy. For the same reason it does not happen while a descriptor is open by which the kernel writes
 * to memory past the page tables, nor if the heap is off, except for lack of room. Async-signal-safe; not under the
 * lock.
 */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "pinned.h"
#include "span.h"

/* It always pays to copy this much. */
#define LITTLE ((size_t)2 << 20)
/* The least time until the next look, doubled each time from LOOK_FIRST_NS to LOOK_LAST_NS; and at least LOOK_SHARE
 * times the processor time of the last look. */
#define LOOK_FIRST_NS 200000000u
#define LOOK_LAST_NS  30000000000u
#define LOOK_SHARE    50u
/* The same if the makers still run, as asking for them is cheap. */
#define ASK_NS        5000000u

static atomic_bool has_inherited;
static _Atomic(uint64_t) look_ns, wait_ns;

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool is_buried(const struct heap_home *home)
{
	return home->start == home->end;
}

void heap_inherit(void)
{
	bool any = false;

	for (int i = 0, count = atomic_load(&heap_home_count); i < count; i++)
		any = any || (!is_buried(&heap_homes[i]) && region_is_inherited(heap_homes[i].region));
	atomic_store(&look_ns, 0);
	atomic_store(&wait_ns, LOOK_FIRST_NS);
	atomic_store(&has_inherited, any);
}

/* Another process, a sibling, has more than a quarter of what this one reads in its page tables too. The two would go
 * on sharing it. */
static bool is_shared(const struct region_shown *shown)
{
	return shown->elsewhere > shown->needed / 4 && shown->elsewhere > LITTLE;
}

static bool is_due(odf_region *region)
{
	struct region_shown shown;

	if (region_is_absent(region))
		return true; /* all that is here of it is views without a page */
	return region_shown_get(region, &shown) == 0 && !is_shared(&shown) &&
	       (shown.needed <= LITTLE || 2 * shown.needed <= shown.own + shown.given_back);
}

static bool is_sealed(const struct heap_home *home)
{
	return span_is_sealed(home->start, home->end);
}

/* The memory that has replaced an island gets the island's advice. Memory of the region, and an island without advice,
 * becomes young. */
static void hand_over(const struct heap_home *home)
{
	size_t length = (size_t)(home->end - home->start);

	for (size_t at = 0; at < length;) {
		struct region_extent run = region_run_at(home->region, at, length);
		at += run.length;
		if (run.kind == REGION_ISLAND)
			span_keep_advice(home->start + run.from, run.length, run.advice);
		if (run.kind == REGION_MEMORY || (run.kind == REGION_ISLAND && run.advice == 0))
			heap_note_early(home->start + run.from, run.length, false);
	}
}

/* Under the lock. True: the region is gone. */
static bool part(struct heap_home *home)
{
	if ((!region_is_absent(home->region) && is_sealed(home)) || region_part(home->region) != 0)
		return false;
	if (!region_is_absent(home->region))
		hand_over(home);
	home->region = region_bury(home->region);
	home->start = home->end = NULL;
	return true;
}

static void forget_the_last_ones(void)
{
	int count = atomic_load(&heap_home_count);

	while (count > 0 && is_buried(&heap_homes[count - 1]))
		count--;
	atomic_store_explicit(&heap_home_count, count, memory_order_release);
}

/* In a process of one thread. */
static void look(void)
{
	bool any = false, asked = false, parted = false;
	uint64_t mask, wait, start = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	region_lock(&mask);
	for (int i = 0, count = atomic_load(&heap_home_count); i < count; i++) {
		struct heap_home *home = &heap_homes[i];
		bool gone = false;
		if (is_buried(home) || !region_is_inherited(home->region))
			continue;
		if (region_maker_is_gone(home->region)) {
			asked = true;
			gone = is_due(home->region) && pinned_process() == ODF_REASON_NONE && part(home);
		}
		parted = parted || gone;
		any = any || !gone;
	}
	if (parted)
		forget_the_last_ones();
	atomic_store(&has_inherited, any);
	region_unlock(&mask);
	if (parted) {
		heap_has_room_again();
		heap_take_all_early();
	}
	wait = asked ? LOOK_SHARE * (clock_ns(CLOCK_THREAD_CPUTIME_ID) - start) : ASK_NS;
	if (asked) {
		uint64_t least = atomic_load(&wait_ns);
		atomic_store(&wait_ns, 2 * least < LOOK_LAST_NS ? 2 * least : LOOK_LAST_NS);
		wait = wait > least ? wait : least;
	}
	atomic_store(&look_ns, clock_ns(CLOCK_MONOTONIC) + wait);
}

bool heap_has_inherited(void)
{
	return atomic_load_explicit(&has_inherited, memory_order_relaxed);
}

void heap_look_at_inherited(void)
{
	uint64_t all = ~0ull, mask, now;
	int saved = errno;

	if (!heap_has_inherited() || heap_is_off_for_good() || heap_uses_keys())
		return;
	now = clock_ns(CLOCK_MONOTONIC); /* PR_SET_TSC may make it trap; the heap is off then */
	if (now < atomic_load(&look_ns))
		return;
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	if (region_has_one_thread() && !heap_is_guest())
		look();
	else
		atomic_store(&look_ns, now + LOOK_FIRST_NS);
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	errno = saved;
}

/* Direct I/O in progress may still read the memory of a process that ends. */
static bool may_be_read(bool is_brief)
{
	return (is_brief ? pinned_process_briefly() : pinned_process()) != ODF_REASON_NONE;
}

void heap_process_ends(void)
{
	region_process_ends();
	region_ends_say(may_be_read);
}
