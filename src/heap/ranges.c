/* SPDX-License-Identifier: MIT
 *
 * A range is one word, and changes from one value to another atomically. If it were two words, a thread that has read
 * the start could read the end of another range, which has been put into the slot since, and would shorten that one,
 * which belongs to another mapping. A word with the same value again is the same range again: a thread that unmaps a
 * range owns it, so no other range can overlap it.
 */
#include "ranges.h"

#include "internal.h"

/* Page numbers of 36 bits reach to 256 TiB. A range of more pages than the count can hold is noted in parts. */
#define COUNT_BITS 28
#define COUNT_MOST (((uint64_t)1 << COUNT_BITS) - 1)
#define PAGES_END  ((uint64_t)1 << (64 - COUNT_BITS))

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

static uint64_t page_after(uintptr_t address, size_t length)
{
	return address / HEAP_PAGE + (length + HEAP_PAGE - 1) / HEAP_PAGE;
}

/* The slot, or RANGES_SLOTS: none is free. */
static unsigned add(struct ranges *ranges, uint64_t range)
{
	for (unsigned i = 0, count; i < RANGES_SLOTS; i++) {
		uint64_t none = 0;
		if (!atomic_compare_exchange_strong(&ranges->slots[i], &none, range))
			continue;
		count = atomic_load(&ranges->used);
		while (count <= i && !atomic_compare_exchange_weak(&ranges->used, &count, i + 1))
			;
		return i;
	}
	return RANGES_SLOTS;
}

/* Removes [from, to) from one range. False: two parts would remain, and there is room for one. */
static bool cut(struct ranges *ranges, _Atomic(uint64_t) *slot, uint64_t from, uint64_t to, bool all)
{
	uint64_t range = atomic_load(slot);
	bool whole = true;

	for (;;) {
		uint64_t start = start_of(range), end = end_of(range), rest = 0, behind = 0;
		unsigned other = RANGES_SLOTS;
		if (range == 0 || end <= from || start >= to)
			return true;
		if (start < from && end > to) {
			behind = range_of(to, end);
			other = add(ranges, behind);
			whole = other != RANGES_SLOTS;
			if (!whole && !all)
				return false;
		}
		if (start < from)
			rest = range_of(start, from);
		else if (end > to)
			rest = range_of(to, end);
		if (atomic_compare_exchange_strong(slot, &range, rest))
			return whole;
		if (other != RANGES_SLOTS)
			(void)atomic_compare_exchange_strong(&ranges->slots[other], &behind, 0);
	}
}

bool ranges_forget(struct ranges *ranges, uintptr_t address, size_t length, bool all)
{
	uint64_t from = address / HEAP_PAGE, to = page_after(address, length);
	bool whole = true;

	for (unsigned i = 0; i < atomic_load(&ranges->used); i++) {
		whole = cut(ranges, &ranges->slots[i], from, to, all) && whole;
		if (!whole && !all)
			return false;
	}
	return whole;
}

bool ranges_add(struct ranges *ranges, uintptr_t address, size_t length)
{
	uint64_t from = address / HEAP_PAGE, to = page_after(address, length);

	if (to > PAGES_END)
		return false;
	for (uint64_t at = from, end; at < to; at = end) {
		end = to - at > COUNT_MOST ? at + COUNT_MOST : to;
		if (add(ranges, range_of(at, end)) == RANGES_SLOTS) {
			/* nothing is split: these are whole ranges */
			(void)ranges_forget(ranges, address, (at - from) * HEAP_PAGE, false);
			return false;
		}
	}
	return true;
}

bool ranges_extend(struct ranges *ranges, uintptr_t address, size_t length)
{
	uint64_t from = address / HEAP_PAGE, to = page_after(address, length);

	for (unsigned i = 0, count = atomic_load(&ranges->used); i < count && to <= PAGES_END; i++) {
		uint64_t range = atomic_load(&ranges->slots[i]);
		uint64_t start = start_of(range), end = end_of(range);
		if (range == 0 || (end != from && start != to))
			continue;
		start = start == to ? from : start;
		end = end == from ? to : end;
		if (end - start <= COUNT_MOST &&
		    atomic_compare_exchange_strong(&ranges->slots[i], &range, range_of(start, end)))
			return true;
	}
	return ranges_add(ranges, address, length);
}

bool ranges_have(const struct ranges *ranges, uintptr_t address)
{
	uint64_t page = address / HEAP_PAGE;

	for (unsigned i = 0, count = atomic_load_explicit(&ranges->used, memory_order_acquire); i < count; i++) {
		uint64_t range = atomic_load_explicit(&ranges->slots[i], memory_order_relaxed);
		if (page >= start_of(range) && page < end_of(range))
			return true;
	}
	return false;
}

bool ranges_at(const struct ranges *ranges, unsigned slot, uintptr_t *start, size_t *size)
{
	uint64_t range = atomic_load(&ranges->slots[slot]);

	*start = (uintptr_t)(start_of(range) * HEAP_PAGE);
	*size = (size_t)((end_of(range) - start_of(range)) * HEAP_PAGE);
	return range != 0;
}

bool ranges_take(struct ranges *ranges, uintptr_t address, size_t length, uintptr_t *start, size_t *size)
{
	uint64_t from = address / HEAP_PAGE, to = page_after(address, length);

	for (unsigned i = 0, count = atomic_load_explicit(&ranges->used, memory_order_acquire); i < count; i++) {
		uint64_t range = atomic_load(&ranges->slots[i]);
		if (range == 0 || end_of(range) <= from || start_of(range) >= to ||
		    !atomic_compare_exchange_strong(&ranges->slots[i], &range, 0))
			continue;
		*start = (uintptr_t)(start_of(range) * HEAP_PAGE);
		*size = (size_t)((end_of(range) - start_of(range)) * HEAP_PAGE);
		return true;
	}
	return false;
}
