/* SPDX-License-Identifier: MIT
 *
 * What mimalloc has beyond the end of its own map of its memory (malloc.c). A list of ranges that any thread changes at
 * any time, without a lock: an allocator may unmap in a signal handler.
 *
 * A range is one word, and is changed from one value to another or not at all. Were it two, a thread that has read the
 * start could read the end of another range, which has come to the same place since; and then cut that one short, whose
 * owner finds a pointer of its own that nobody knows. A word that is the same again is the same range again: who unmaps
 * owns what it unmaps, so that no other can overlap it.
 */
#include "internal.h"

/* Page numbers of 36 bits reach to 256 TiB. A range of more pages than fit is noted in parts. */
#define COUNT_BITS 28
#define COUNT_MOST (((uint64_t)1 << COUNT_BITS) - 1)
#define PAGES_END  ((uint64_t)1 << (64 - COUNT_BITS))

#define MAP_END ((uintptr_t)20 << 40)
#define SLOTS   1024

static _Atomic(uint64_t) ranges[SLOTS]; /* 0: free */
static atomic_uint used;		/* no slot from this one on has ever been taken */

static uint64_t range_of(uint64_t from, uint64_t to)
{
	return from << COUNT_BITS | (to - from);
}

static uint64_t start_of(uint64_t range)
{
	return range >> COUNT_BITS;
}

static uint64_t end_of(uint64_t range)
{
	return start_of(range) + (range & COUNT_MOST);
}

/* The slot, or SLOTS: there is none. */
static unsigned add(uint64_t range)
{
	for (unsigned i = 0, count; i < SLOTS; i++) {
		uint64_t none = 0;
		if (!atomic_compare_exchange_strong(&ranges[i], &none, range))
			continue;
		count = atomic_load(&used);
		while (count <= i && !atomic_compare_exchange_weak(&used, &count, i + 1))
			;
		return i;
	}
	return SLOTS;
}

/* A part of one range is gone. False: two would remain of it, and there is room for one. */
static bool cut(_Atomic(uint64_t) *slot, uint64_t from, uint64_t to)
{
	uint64_t range = atomic_load(slot);

	for (;;) {
		uint64_t start = start_of(range), end = end_of(range), rest = 0, behind = 0;
		unsigned other = SLOTS;
		if (range == 0 || end <= from || start >= to)
			return true;
		if (start < from && end > to) {
			behind = range_of(to, end);
			other = add(behind);
			if (other == SLOTS)
				return false;
		}
		if (start < from)
			rest = range_of(start, from);
		else if (end > to)
			rest = range_of(to, end);
		if (atomic_compare_exchange_strong(slot, &range, rest))
			return true;
		if (other != SLOTS)
			(void)atomic_compare_exchange_strong(&ranges[other], &behind, 0);
	}
}

static bool forget(uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < atomic_load(&used); i++)
		if (!cut(&ranges[i], from, to))
			return false;
	return true;
}

bool heap_note_beyond(const void *mapping, size_t length)
{
	uint64_t from = (uintptr_t)mapping / HEAP_PAGE, to = from + (length + HEAP_PAGE - 1) / HEAP_PAGE;

	if ((uintptr_t)mapping + length <= MAP_END)
		return true;
	if (to > PAGES_END)
		return false;
	for (uint64_t at = from, end; at < to; at = end) {
		end = to - at > COUNT_MOST ? at + COUNT_MOST : to;
		if (add(range_of(at, end)) == SLOTS) {
			(void)forget(from, at); /* nothing is split: these are whole ranges */
			return false;
		}
	}
	return true;
}

bool heap_forget_beyond(const void *mapping, size_t length)
{
	uint64_t from = (uintptr_t)mapping / HEAP_PAGE;

	return (uintptr_t)mapping + length <= MAP_END || forget(from, from + (length + HEAP_PAGE - 1) / HEAP_PAGE);
}

bool heap_is_beyond(const void *pointer)
{
	uint64_t page = (uintptr_t)pointer / HEAP_PAGE;

	if ((uintptr_t)pointer < MAP_END)
		return false;
	for (unsigned i = 0, count = atomic_load_explicit(&used, memory_order_acquire); i < count; i++) {
		uint64_t range = atomic_load_explicit(&ranges[i], memory_order_relaxed);
		if (page >= start_of(range) && page < end_of(range))
			return true;
	}
	return false;
}
