/* SPDX-License-Identifier: MIT
 *
 * The room for the list of extents. It counts as address space of the program's, so it begins small in a region in
 * place, and grows. Under the lock, or before anybody knows of the region; async-signal-safe.
 */
#include <string.h>

#include "internal.h"

/* Each time as much as this more: no more than REGION_OUTGROWN times. */
#define GROWTH 8
_Static_assert(REGION_EXTENTS_FIRST * GROWTH * GROWTH >= REGION_EXTENTS, "each list that is outgrown has a place");
/* The next list lies behind the last one. */
#define APART ((size_t)64 << 20)

static size_t size_of(size_t most)
{
	size_t size = sizeof(struct region_extents) + most * sizeof(struct region_extent);

	return (size + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;
}

struct region_extents *region_extents_map(void *hint, size_t most)
{
	struct region_extents *both = region_map_own(hint, 2 * size_of(most));

	if (both != NULL)
		(void)sys_call3(SYS_madvise, both, 2 * size_of(most), MADV_DONTDUMP); /* a dump has nothing by them */
	return both;
}

struct region_extents *region_extents_other(struct region_extents *first, size_t most)
{
	return (struct region_extents *)(void *)((char *)first + size_of(most));
}

static struct region_extents *first_of(const struct odf_region *region)
{
	return region->extents < region->other_extents ? region->extents : region->other_extents;
}

void region_extents_unmap(struct odf_region *region)
{
	struct region_extents *both = first_of(region);

	if (region->extents == NULL)
		return;
	region->extents = NULL;
	(void)region_unmap(both, 2 * size_of(region->extents_most));
	for (size_t i = 0; i < REGION_OUTGROWN; i++) {
		if (region->outgrown[i].start != NULL)
			(void)region_unmap(region->outgrown[i].start, region->outgrown[i].size);
		region->outgrown[i].start = NULL;
	}
}

bool region_makes_room(struct odf_region *region, size_t more)
{
	struct region_extents *was = region->extents, *old, *both;
	size_t most = region->extents_most, old_size = 2 * size_of(most);

	if (was == NULL || was->count + more > REGION_EXTENTS)
		return false;
	while (was->count + more > most)
		most = most < REGION_EXTENTS / GROWTH ? most * GROWTH : REGION_EXTENTS;
	if (most == region->extents_most)
		return true;
	old = first_of(region);
	both = region_extents_map((char *)old + APART, most);
	if (both == NULL)
		return false;
	memcpy(both, was, sizeof *was + was->count * sizeof was->list[0]);
	/* In this order: a child that a clone past the library makes in the middle has two lists with room for so
	 * many. */
	__atomic_store_n(&region->other_extents, region_extents_other(both, most), __ATOMIC_RELEASE);
	__atomic_store_n(&region->extents, both, __ATOMIC_RELEASE);
	__atomic_store_n(&region->extents_most, most, __ATOMIC_RELEASE);
	for (size_t i = 0; i < REGION_OUTGROWN; i++)
		if (region->outgrown[i].start == NULL) {
			region->outgrown[i] = (struct region_outgrown){ old, old_size };
			break;
		}
	(void)sys_call3(SYS_madvise, old, old_size, MADV_DONTNEED);
	return true;
}
