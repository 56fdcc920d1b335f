/* SPDX-License-Identifier: MIT
 *
 * A list of address ranges of whole pages. Any thread may change it at any time, without a lock. Async-signal-safe.
 */
#ifndef ODF_HEAP_RANGES_H
#define ODF_HEAP_RANGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_SLOTS 1024

struct ranges {
	_Atomic(uint64_t) slots[RANGES_SLOTS]; /* 0: free */
	atomic_uint used;                      /* no slot from this one on has ever been taken */
};

static inline bool ranges_are_none(const struct ranges *ranges)
{
	return atomic_load_explicit(&ranges->used, memory_order_relaxed) == 0;
}

/* False: there is no room, and nothing is added. */
bool ranges_add(struct ranges *ranges, uintptr_t address, size_t length);
/* The same, but a range next to it is extended where possible. */
bool ranges_extend(struct ranges *ranges, uintptr_t address, size_t length);
/* Removes [address, address + length) from all ranges. False: there is no room for what remains of one of them. That
 * range then stays as a whole, or, if `all`, the part behind is lost. */
bool ranges_forget(struct ranges *ranges, uintptr_t address, size_t length, bool all);
bool ranges_have(const struct ranges *ranges, uintptr_t address);
/* The range in a slot. False: none. */
bool ranges_at(const struct ranges *ranges, unsigned slot, uintptr_t *start, size_t *size);
/* Removes from the list one range that overlaps [address, address + length), as a whole. False: there is none. */
bool ranges_take(struct ranges *ranges, uintptr_t address, size_t length, uintptr_t *start, size_t *size);
#endif
