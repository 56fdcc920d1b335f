/* SPDX-License-Identifier: MIT
 *
 * The memory of the list of extents. It counts as address space of the program, so in a region in place it begins small
 * and grows. Under the lock, or before anyone knows of the region; async-signal-safe.
 */
#include <string.h>

#include "internal.h"

/* The list grows by this factor, at most REGION_OUTGROWN times. */
#define GROWTH 12
_Static_assert(REGION_EXTENTS_FIRST * GROWTH * GROWTH >= REGION_EXTENTS, "each list that is outgrown has a place");
/* The distance between the places of the lists after the first. */
#define APART ((size_t)64 << 20)

/* A change takes so many free blocks before it frees others: for all extents of two blocks, and the new ones. */
#define BLOCKS_OF_A_CHANGE ((size_t)3)
#define INDEXES            ((size_t)2)

/* Blocks for `most` extents: each has at least REGION_BLOCK_LEAST, or it is the only one. */
#define BLOCKS_FOR(most) ((most) / REGION_BLOCK_LEAST + 1 + BLOCKS_OF_A_CHANGE)
_Static_assert(sizeof(struct region_extents) + BLOCKS_FOR(REGION_EXTENTS) * sizeof(unsigned short) <= REGION_PAGE,
	       "an index is a page");

static size_t size_of(size_t most)
{
	return (INDEXES + BLOCKS_FOR(most)) * REGION_PAGE;
}
_Static_assert((1 + INDEXES + BLOCKS_FOR(REGION_EXTENTS_FIRST)) * REGION_PAGE <= REGION_SLOT,
	       "a region's structure and its first list share a slot");

struct region_extents *region_extents_other(const struct region_extents *extents)
{
	char *index = (char *)(uintptr_t)extents;

	return (struct region_extents *)(void *)(extents->behind == INDEXES ? index + REGION_PAGE
									    : index - REGION_PAGE);
}

static struct region_extents *first_of(struct region_extents *extents)
{
	return extents->behind == INDEXES ? extents : region_extents_other(extents);
}

/* Maps an empty list. */
static struct region_extents *map_list(void *hint, size_t most)
{
	struct region_extents *first = region_map_own(hint, size_of(most)), *second;

	if (first == NULL)
		return NULL;
	(void)sys_call3(SYS_madvise, first, size_of(most), MADV_DONTDUMP); /* of no use in a core dump */
	first->behind = INDEXES;
	second = region_extents_other(first);
	second->behind = INDEXES - 1;
	first->most = second->most = most;
	return first;
}

struct region_extents *region_extents_make(void *hint, size_t most, struct region_extent extent)
{
	struct region_extents *extents = map_list(hint, most);

	if (extents == NULL)
		return NULL;
	extents->count = extents->blocks = extents->known = 1;
	extents->pieces = extent.from > 0;
	region_block_of(extents, 0)->count = 1;
	region_block_of(extents, 0)->list[0] = extent;
	return extents;
}

const void *region_extents_where(const struct odf_region *region, size_t *size)
{
	struct region_extents *extents = region->extents;

	*size = extents == NULL ? 0 : size_of(extents->most);
	return extents == NULL ? NULL : first_of(extents);
}

void region_extents_unmap(struct odf_region *region)
{
	struct region_extents *extents = region->extents;

	if (extents == NULL)
		return;
	region->extents = NULL;
	(void)region_unmap(first_of(extents), size_of(extents->most));
	for (size_t i = 0; i < REGION_OUTGROWN; i++) {
		if (region->outgrown[i].start != NULL)
			(void)region_unmap(region->outgrown[i].start, region->outgrown[i].size);
		region->outgrown[i].start = NULL;
	}
}

/* Copies the blocks that are in use, in their order. */
static void copy_list(struct region_extents *to, const struct region_extents *from)
{
	to->count = from->count;
	to->pieces = from->pieces;
	to->blocks = to->known = from->blocks;
	for (size_t i = 0; i < from->blocks; i++) {
		to->order[i] = (unsigned short)i;
		memcpy(region_block_of(to, i), region_block_of(from, from->order[i]), sizeof(struct region_block));
	}
}

/* Below the region's other places (create.c). */
static char *place_of_next(const struct odf_region *region)
{
	uintptr_t places = (uintptr_t)region->reservation / REGION_PUD * REGION_PUD;
	size_t number = 1;

	while (number <= REGION_OUTGROWN && region->outgrown[number - 1].start != NULL)
		number++;
	return (char *)places - REGION_PUD / 2 + number * APART;
}

bool region_makes_room(struct odf_region *region, size_t more)
{
	struct region_extents *was = region->extents, *old, *larger;
	size_t most, old_size;

	if (was == NULL || was->count + more > REGION_EXTENTS)
		return false;
	for (most = was->most; was->count + more > most;)
		most = most < REGION_EXTENTS / GROWTH ? most * GROWTH : REGION_EXTENTS;
	if (most == was->most)
		return true;
	old = first_of(was);
	old_size = size_of(was->most);
	larger = map_list(place_of_next(region), most);
	if (larger == NULL)
		return false;
	copy_list(larger, was);
	__atomic_store_n(&region->extents, larger, __ATOMIC_RELEASE);
	for (size_t i = 0; i < REGION_OUTGROWN; i++)
		if (region->outgrown[i].start == NULL) {
			region->outgrown[i] = (struct region_outgrown){ old, old_size };
			break;
		}
	(void)sys_call3(SYS_madvise, old, old_size, MADV_DONTNEED);
	return true;
}
