/* SPDX-License-Identifier: MIT
 * The views of a region's file, and the places, that freezes and steps of settling take: made beforehand, by the
 * keeper, under the lock. */
#include <errno.h>

#include "internal.h"

size_t region_chunk_override = SIZE_MAX;

/* Divides a fresh template; SIZE_MAX: it could not be, and is of no use any more. */
static size_t divide(struct odf_region *region, char *fresh, size_t chunk)
{
	if (chunk == 0 || region->second_file < 0)
		return 0;
	for (size_t at = chunk; at < region->length; at += 2 * chunk) {
		size_t size = region->length - at < chunk ? region->length - at : chunk;
		if (region_map_file(region, fresh + at, size, MAP_PRIVATE | MAP_FIXED, region->second_file, at) == NULL)
			return SIZE_MAX;
	}
	return chunk;
}

static size_t chunk_wanted(const struct odf_region *region)
{
	size_t chunk = 0;

	if (region_chunk_override != SIZE_MAX)
		chunk = region_chunk_override;
	else if (region->frozen_forks > 0 && region->touched >= REGION_CHUNK_FAULTS)
		chunk = region->length / REGION_CHUNKS < REGION_CHUNK_LEAST ? REGION_CHUNK_LEAST
									    : region->length / REGION_CHUNKS;
	chunk = (chunk + REGION_TABLE - 1) / REGION_TABLE * REGION_TABLE;
	return chunk < region->length ? chunk : 0;
}

int region_template_make(struct odf_region *region)
{
	size_t chunk = chunk_wanted(region);
	char *fresh;

	if (region->template != NULL && region->template_length == 0)
		return 0;
	fresh = region_map_file_beside(region, MAP_PRIVATE);
	if (fresh == NULL)
		return ENOMEM;
	chunk = divide(region, fresh, chunk);
	if (chunk == SIZE_MAX) {
		region_unmap(fresh, region->length);
		return ENOMEM;
	}
	/* Of the heap's, most is no memory. Who makes a core dump from outside (gcore) reads it, and each page that
	 * is read there is made. */
	if (region->extents != NULL)
		(void)sys_call3(SYS_madvise, fresh, region->length, MADV_DONTDUMP);
	/* Visible to children, as home is to be. A raw clone while the region is LIVE gets it as well, where nobody
	 * looks for it. */
	region_template_drop(region);
	region->template = fresh;
	region->template_length = 0;
	region->template_lost = false;
	region->chunk = chunk;
	region->frozen_forks = 0;
	return 0;
}

int region_aside_make(struct odf_region *region)
{
	char *area = region_map_beside(region, region->length + REGION_PUD, PROT_NONE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *aside;

	if (area == NULL)
		return ENOMEM;
	aside = (char *)(((uintptr_t)area + REGION_PUD - 1) / REGION_PUD * REGION_PUD);
	if (region_map_file(region, aside, region->length, MAP_SHARED | MAP_FIXED, region->file, 0) == NULL ||
	    sys_call3(SYS_madvise, aside, region->length, MADV_DONTFORK) < 0) {
		region_unmap(area, region->length + REGION_PUD);
		return ENOMEM;
	}
	if (aside > area)
		region_unmap(area, (size_t)(aside - area));
	region_unmap(aside + region->length, REGION_PUD - (size_t)(aside - area));
	if (region->aside_lost)
		region->old_asides[region->old_aside++ % REGION_OLD_ASIDES] = region->aside;
	region->aside = aside; /* the old one, whose parts may be others' by now, is left alone */
	region->aside_lost = false;
	return 0;
}

int region_work_make(struct odf_region *region)
{
	size_t size = 2 * region->work_size + REGION_PUD;
	char *area = region_map_beside(region, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == NULL)
		return ENOMEM;
	if (sys_call3(SYS_madvise, area, size, MADV_DONTFORK) < 0) {
		region_unmap(area, size);
		return ENOMEM;
	}
	region->scratch = (char *)(((uintptr_t)area + REGION_PUD - 1) / REGION_PUD * REGION_PUD);
	region->staging = region->scratch + region->work_size;
	return 0;
}
