/* SPDX-License-Identifier: MIT
 *
 * Windows: regions in place (region.h), one for each part of the address space where the program's mappings lie. A
 * window is made when the program maps enough memory there while the heap is awake. What the program maps is noted as
 * young memory; the region does the rest.
 *
 * Async-signal-safe. The functions of the last part, and for_windows with the functions that it calls, run under the
 * lock; the others are called without it.
 */
#include "span.h"

#define GIB ((uintptr_t)1 << 30)
/* The kernel maps from the top of the address space downward unless told otherwise. Elsewhere, at the data segment for
 * example, memory follows upward from the first mapping. */
#define DOWNWARD_FROM (ADDRESSES_END - ((uintptr_t)32 << 40))
/* Nothing is mapped below. A program at a fixed position and its data segment lie above. */
#define LOWEST ((uintptr_t)2 << 20)
/* The end of addresses of 32 bits, which programs ask for with MAP_32BIT. */
#define LOW_END ((uintptr_t)4 << 30)

/* Each costs a few system calls at every fork. */
#define WINDOWS_MOST 6
/* A mapping of this length is worth a window, and so are smaller ones that come to four times as much. If the heap is
 * on from the start smaller ones have to come to less: a fork copies the page tables of less than that sooner than it
 * freezes a window, and each program has a first piece of malloc's. */
#define WORTH         ((size_t)1 << 20)
#define WORTH_WHEN_ON ((size_t)256 << 10)

static bool is_own_window(const struct heap_home *home)
{
	odf_reason reason;

	return region_is_in_place(home->region) && !region_is_placeholder(home->region) &&
	       !region_is_inherited(home->region) && !region_has_left(home->region, &reason);
}

/* The window at this address for memory with these rights. */
static const struct heap_home *find(const char *address, int rights)
{
	for (int i = atomic_load_explicit(&heap_home_count, memory_order_acquire) - 1; i >= 0; i--)
		if (address >= heap_homes[i].start && address < heap_homes[i].end &&
		    region_rights(heap_homes[i].region) == rights && is_own_window(&heap_homes[i]))
			return &heap_homes[i];
	return NULL;
}

/* Reduces [*from, *to) to what is free around `at`, beside the windows for such memory. False: nothing is, or there are
 * enough windows. */
static bool fit_between(uintptr_t at, uintptr_t *from, uintptr_t *to, int rights)
{
	unsigned windows = 0;

	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++) {
		uintptr_t start = (uintptr_t)heap_homes[i].start, end = (uintptr_t)heap_homes[i].end;
		if (region_is_inherited(heap_homes[i].region)) /* memory like any other */
			continue;
		windows += region_is_in_place(heap_homes[i].region) && !region_is_placeholder(heap_homes[i].region);
		if (region_is_in_place(heap_homes[i].region) && region_rights(heap_homes[i].region) != rights)
			continue;
		if (end <= at && end > *from)
			*from = end;
		if (start > at && start < *to)
			*to = start;
		if (start <= at && at < end)
			return false;
	}
	return windows < WINDOWS_MOST;
}

/* This mapping is worth a window, by itself or together with earlier ones. `outside`: the sum of those that are too
 * small by themselves. */
static bool is_worth_a_window(_Atomic(size_t) *outside, size_t length, size_t least)
{
	size_t together = heap_is_on() ? WORTH_WHEN_ON : 4 * WORTH;

	if (length < least && atomic_fetch_add_explicit(outside, length, memory_order_relaxed) + length < together)
		return false;
	atomic_store_explicit(outside, 0, memory_order_relaxed);
	return true;
}

void heap_make_window(const char *address, size_t length, int protection)
{
	static _Atomic(size_t) outside, outside_executable;
	uintptr_t at = (uintptr_t)address, end = at + length, from, to;
	bool executable = protection == HEAP_ALL_RIGHTS && heap_may_execute();
	int rights = executable ? HEAP_ALL_RIGHTS : PROT_READ | PROT_WRITE;
	size_t capacity = heap_window_capacity();

	if (at < LOWEST || end > ADDRESSES_END + HEAP_PAGE || find(address, rights) != NULL)
		return;
	/* Most programs have a little executable memory, for which a further window does not pay. */
	if (!is_worth_a_window(executable ? &outside_executable : &outside, length, executable ? 4 * WORTH : WORTH))
		return;
	if (executable && length >= GIB) /* it gets a window of its own */
		capacity = (length + 2 * GIB - 1) / GIB * GIB;
	if (at >= DOWNWARD_FROM) {
		to = (end + GIB - 1) / GIB * GIB;
		from = to - capacity;
		if (from > at)
			from = at / GIB * GIB;
	} else {
		from = at < GIB ? LOWEST : at / GIB * GIB;
		to = at < LOW_END ? LOW_END : from + capacity;
	}
	if (fit_between(at, &from, &to, rights) && to > from)
		heap_open_window((void *)from, (size_t)(to - from), rights);
}

/* ---- When memory is in the region from the start ----
 *
 * The first write to a page of a file takes a quarter longer than one to anonymous memory, and most programs never
 * fork. So until the first fork the memory that the program maps is young: it costs what it costs without the library,
 * and the keeper takes it in when it has grown old (schedule.c). A process that has forked will fork again: all that it
 * maps from then on is overlaid. A process that imports fork (forker.c) is expected to fork. Of its memory, what
 * exceeds the most that it ever had is overlaid, as that is what stays. Mappings that replace what was given back, libc
 * malloc's and the data segment's memory are young there too. If memory in use cannot be taken in, all of it is
 * overlaid. */
static _Atomic(size_t) has, had_most;
static atomic_bool has_forked;

void heap_note_forker(void)
{
	atomic_store_explicit(&has_forked, true, memory_order_relaxed);
}

void heap_forget_windows(void)
{
	atomic_store(&has, 0);
	atomic_store(&had_most, 0);
	atomic_store(&has_forked, false);
}

static bool is_overlaid(size_t length, bool malloced)
{
	size_t now = atomic_fetch_add_explicit(&has, length, memory_order_relaxed) + length;
	size_t most = atomic_load_explicit(&had_most, memory_order_relaxed);
	bool more = now > most && now < SIZE_MAX / 2;

	while (now > most && now < SIZE_MAX / 2 && !atomic_compare_exchange_weak(&had_most, &most, now))
		;
	return (more && !malloced && heap_program_asks_for_fork()) ||
	       atomic_load_explicit(&has_forked, memory_order_relaxed) || !heap_may_be_young();
}

void span_note_unmapped(size_t length)
{
	(void)atomic_fetch_sub_explicit(&has, length, memory_order_relaxed);
}

typedef void window_function(odf_region *region, size_t from, size_t length, int argument);

/* Calls the function for each part of the range in a window of this process. */
static void for_windows(const char *address, size_t length, window_function *function, int argument)
{
	const char *end = address + span_round_up(length);

	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++) {
		const struct heap_home *home = &heap_homes[i];
		const char *from = address > home->start ? address : home->start,
			   *to = end < home->end ? end : home->end;
		if (from < to && is_own_window(home))
			function(home->region, (size_t)(from - home->start), (size_t)(to - from), argument);
	}
}

static void note(odf_region *region, size_t from, size_t length, int protection)
{
	region_note_young(region, from, length, protection);
}

static void forget(odf_region *region, size_t from, size_t length, int unused)
{
	(void)unused;
	region_forget_young(region, from, length);
}

/* Young memory with the region's rights is in the region from now on. */
static void overlay(odf_region *region, size_t from, size_t length, int protection)
{
	size_t end = from + length;

	for (size_t at = from; at < end && region_rights(region) == protection;) {
		struct region_extent run = region_run_at(region, at, end);
		if (run.kind == REGION_FOREIGN && run.young)
			(void)region_overlay(region, at, run.length);
		at += run.length;
	}
}

/* ---- Not under the lock ---- */

/* NOTE_FOUND: the memory has been in use, so that nothing may be laid over it. */
enum note { NOTE_MAPPED, NOTE_MALLOCED, NOTE_GROWN, NOTE_FOUND };

static void note_mapped(void *address, size_t length, int protection, bool young, enum note how)
{
	bool plain = young && (protection | PROT_EXEC) == HEAP_ALL_RIGHTS;
	uint64_t mask;

	if (young && length >= HEAP_SMALLEST_YOUNG)
		heap_meet_child();
	if (heap_state() == ODF_HEAP_AWAKE && young && length >= HEAP_SMALLEST_YOUNG)
		heap_make_window(address, length, protection);
	if (!span_touches(address, length)) {
		heap_forget_early(address, length);
		if (how == NOTE_GROWN || how == NOTE_FOUND)
			heap_note_early_growth(address, length);
		else if (young)
			heap_note_early(address, length, how == NOTE_MALLOCED);
		return;
	}
	heap_meet_child();
	region_lock(&mask);
	span_forget_history(address, length);
	for_windows(address, length, young ? note : forget, protection);
	/* If the heap has left, no call is made that a filter might not permit. */
	if (plain && how != NOTE_FOUND && length >= HEAP_SMALLEST && heap_state() == ODF_HEAP_AWAKE &&
	    is_overlaid(span_round_up(length), how != NOTE_MAPPED)) {
		region_unlock(&mask);
		region_reach();
		heap_meet_child(); /* this may be a child that a handler has forked meanwhile */
		region_lock(&mask);
		for_windows(address, length, overlay, protection);
	}
	region_unlock(&mask);
	if (plain && length >= HEAP_SMALLEST && heap_state() == ODF_HEAP_AWAKE) {
		if (find(address, protection) != NULL && find((char *)address + length - 1, protection) != NULL)
			heap_note_placed(length);
		else
			heap_note_spill();
	}
}

void heap_take_early_into_windows(void)
{
	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++)
		if (is_own_window(&heap_homes[i]))
			heap_take_early(heap_homes[i].region, heap_homes[i].start,
					(size_t)(heap_homes[i].end - heap_homes[i].start));
}

void heap_note_mapped(void *address, size_t length, int protection, int flags)
{
	note_mapped(address, length, protection, is_young_kind(flags) && (protection & ~SPAN_RIGHTS) == 0, NOTE_MAPPED);
}

void heap_note_given(void *address, size_t length)
{
	uint64_t mask;

	heap_forget_early(address, length);
	if (!span_touches(address, length))
		return;
	heap_meet_child();
	region_lock(&mask);
	span_forget_history(address, length);
	span_forget_young(address, length);
	region_unlock(&mask);
}

void heap_note_malloced(void *address, size_t length, int protection, int flags)
{
	note_mapped(address, length, protection, is_young_kind(flags), NOTE_MALLOCED);
}

static void note_growth(void *address, size_t length, enum note how)
{
	heap_look_at_inherited();
	heap_grows(length);
	note_mapped(address, length, PROT_READ | PROT_WRITE, true, how);
}

void heap_note_grown(void *address, size_t length)
{
	note_growth(address, length, NOTE_GROWN);
}

void heap_note_found(void *address, size_t length)
{
	note_growth(address, length, NOTE_FOUND);
}

void heap_share_young(odf_region *fresh)
{
	uint64_t mask;

	region_lock(&mask);
	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++)
		if (heap_homes[i].region != fresh && is_own_window(&heap_homes[i]))
			region_share_young(fresh, heap_homes[i].region);
	region_unlock(&mask);
}

bool heap_open_quietly(void *address, size_t length, long *error)
{
	const char *start = address, *end = start + span_round_up(length);
	int count = atomic_load_explicit(&heap_home_count, memory_order_acquire);

	for (int i = 0; i < count; i++)
		if (start < heap_homes[i].end && end > heap_homes[i].start &&
		    !region_may_be_opened(heap_homes[i].region))
			return false;
	*error = sys_call3(SYS_mprotect, address, length, PROT_READ | PROT_WRITE);
	for (int i = 0; i < count; i++)
		if (start < heap_homes[i].end && end > heap_homes[i].start)
			region_note_opened(heap_homes[i].region);
	return true;
}

/* ---- Under the lock ---- */

void span_true_rights(const char *address, size_t length)
{
	const char *end = address + span_round_up(length);

	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++)
		if (address < heap_homes[i].end && end > heap_homes[i].start)
			region_true_rights(heap_homes[i].region);
}

/* The kernel found this place free. What the lists of the process's own regions and of inherited ones say of it is
 * outdated, because of raw system calls. */
void span_forget_history(char *address, size_t length)
{
	char *end = address + span_round_up(length);

	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++) {
		const struct heap_home *home = &heap_homes[i];
		char *from = address > home->start ? address : home->start, *to = end < home->end ? end : home->end;
		if (from < to && (region_is_in_place(home->region) || region_is_inherited(home->region)))
			region_forget_gone(home->region, (size_t)(from - home->start), (size_t)(to - from));
	}
}

void span_forget_young(char *address, size_t length)
{
	for_windows(address, length, forget, 0);
}

void span_note_young(char *address, size_t length, int protection)
{
	for_windows(address, length, note, protection);
}
