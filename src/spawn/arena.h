/* SPDX-License-Identifier: MIT
 *
 * Carves pieces out of one block, in two passes over the same code: the first, without a block, counts; the second
 * places.
 */
#ifndef ODF_SPAWN_ARENA_H
#define ODF_SPAWN_ARENA_H

#include <stddef.h>

struct arena {
	char *base; /* NULL: only count */
	size_t used;
	size_t room; /* 0: as much as is needed. Else `used` exceeds it afterwards if it was too little */
};

static inline void *carve(struct arena *arena, size_t size)
{
	size_t at = (arena->used + 15) & ~(size_t)15;

	arena->used = at + size;
	if (arena->base == NULL || (arena->room > 0 && arena->used > arena->room))
		return NULL;
	return arena->base + at;
}
#endif
