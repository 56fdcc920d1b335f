/* SPDX-License-Identifier: MIT
 *
 * Memory that the program has mapped where there is no window yet: while the heap was asleep, and where it has mapped
 * little. When a window is opened there this memory becomes young, if it is still what it was.
 *
 * Async-signal-safe. Memory that is not noted stays outside of regions, which is always correct.
 */
#include "ranges.h"
#include "span.h"

/* Before the heap wakes the process has some MiB of pages at most, which cost a fork little: what matters is memory
 * that is reserved then and used later. What malloc has mapped is small, and may grow by moving. */
#define LEAST ((size_t)256 << 10)
/* Small ranges side by side are one entry. The rest of them may have so many slots, so that larger ranges find room. */
#define SLOTS_OF_SMALL (RANGES_SLOTS / 4)

static struct ranges early;

void heap_note_early(const void *address, size_t length, bool all)
{
	if (length >= LEAST || all)
		(void)ranges_extend(&early, (uintptr_t)address, length);
	else if (length >= HEAP_SMALLEST_YOUNG &&
		 atomic_load_explicit(&early.used, memory_order_relaxed) < SLOTS_OF_SMALL)
		(void)ranges_extend(&early, (uintptr_t)address, length);
}

void heap_note_early_growth(const void *address, size_t length)
{
	(void)ranges_extend(&early, (uintptr_t)address, length);
}

bool heap_has_early(const void *address)
{
	return !ranges_are_none(&early) && ranges_have(&early, (uintptr_t)address);
}

void heap_forget_early(const void *address, size_t length)
{
	if (!ranges_are_none(&early) && length != 0 && (uintptr_t)address <= ADDRESSES_END &&
	    length <= ADDRESSES_END - (uintptr_t)address)
		(void)ranges_forget(&early, (uintptr_t)address, length, true);
}

void heap_open_early_windows(void)
{
	uintptr_t start;
	uint64_t mask;
	size_t size;

	for (unsigned slot = 0; slot < atomic_load(&early.used); slot++) {
		size_t executable = 0;
		if (!ranges_at(&early, slot, &start, &size))
			continue;
		if (heap_may_execute()) {
			region_lock(&mask);
			executable = region_bytes_with((char *)start, size, HEAP_ALL_RIGHTS);
			region_unlock(&mask);
		}
		if (executable > 0)
			heap_make_window((const char *)start, size, HEAP_ALL_RIGHTS);
		if (executable < size)
			heap_make_window((const char *)start, size, PROT_READ | PROT_WRITE);
	}
}

void heap_take_all_early(void)
{
	if (heap_state() != ODF_HEAP_AWAKE)
		return; /* it takes them when it wakes */
	heap_open_early_windows();
	heap_take_early_into_windows();
}

void heap_take_early(odf_region *region, char *window, size_t window_length)
{
	uintptr_t start;
	size_t size;
	uint64_t mask;

	/* Entries are taken out and looked at under the lock. So a thread that changes the memory comes before, and it
	 * is no longer in the list, or after, and finds it young. */
	region_lock(&mask);
	while (ranges_take(&early, (uintptr_t)window, window_length, &start, &size)) {
		char *from = (char *)start, *to = from + size, *end = window + window_length;
		if (from < window) {
			heap_note_early(from, (size_t)(window - from), true);
			from = window;
		}
		if (to > end) {
			heap_note_early(end, (size_t)(to - end), true);
			to = end;
		}
		region_note_young_as_it_is(region, (size_t)(from - window), (size_t)(to - from));
	}
	region_unlock(&mask);
}
