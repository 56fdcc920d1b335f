/* SPDX-License-Identifier: MIT
 *
 * A list of ranges of addresses, of whole pages, that any thread changes at any time, without a lock.
 * Async-signal-safe.
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

/* False: it cannot be remembered, and nothing is. */
bool ranges_add(struct ranges *ranges, uintptr_t address, size_t length);
/* The same; with one that it lies next to it becomes one range. */
bool ranges_extend(struct ranges *ranges, uintptr_t address, size_t length);
/* False: what remains of one of them cannot be remembered. It is still there as a whole then, or, if `all`, a part
 * that should remain is not. */
bool ranges_forget(struct ranges *ranges, uintptr_t address, size_t length, bool all);
bool ranges_have(const struct ranges *ranges, uintptr_t address);
/* The one in a slot. False: none. */
bool ranges_at(const struct ranges *ranges, unsigned slot, uintptr_t *start, size_t *size);
/* Takes one that overlaps [address, address + length) out of the list. False: there is none. */
bool ranges_take(struct ranges *ranges, uintptr_t address, size_t length, uintptr_t *start, size_t *size);
#endif
