/* SPDX-License-Identifier: MIT
 * The views of a region's file, and the places, that freezes and steps of settling use. The keeper makes them in
 * advance, under the lock. */
#include <errno.h>

#include "internal.h"

size_t region_chunk_override = SIZE_MAX;

/* Divides a fresh template into chunks. Returns their size; 0: it stays whole; SIZE_MAX: failed, the template is
 * useless. */
static size_t divide(struct odf_region *region, char *fresh, size_t chunk, size_t first, size_t end)
{
	if (chunk == 0 || region->second_file < 0)
		return 0;
	for (size_t at = chunk; at < end; at += 2 * chunk) {
		size_t from = at > first ? at : first, until = end - at < chunk ? end : at + chunk;
		if (from < until && region_map_file(region, fresh + from, until - from, MAP_PRIVATE | MAP_FIXED,
						    region->second_file, from) == NULL)
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
	size_t chunk = chunk_wanted(region), first = 0, end = region->length;
	char *fresh;

	if (region->template != NULL && region->template_length == 0 &&
	    region_template_reaches(region, region_lowest(region), region_top(region)))
		return 0;
	if (region->in_place) {
		first = region->source_from;
		end = chunk > 0 ? region_top(region) : 0;
		if (end < first + REGION_PAGE)
			end = first + REGION_PAGE;
	}
	fresh = region_map_file_beside(region, MAP_PRIVATE, first, end);
	if (fresh == NULL)
		return ENOMEM;
	chunk = divide(region, fresh, chunk, first, end);
	if (chunk == SIZE_MAX) {
		region_unmap(fresh + first, end - first);
		return ENOMEM;
	}
	/* Most of a template of the heap is not memory. A debugger that makes a core dump (gcore) reads it, and each
	 * page that is read is allocated. */
	if (region->extents != NULL)
		(void)sys_call3(SYS_madvise, fresh + first, end - first, MADV_DONTDUMP);
	/* Visible to children, as home is to be. A child that a raw clone makes while the region is LIVE gets it as
	 * well, and does not use it. */
	region_template_drop(region);
	region->template = fresh;
	region->template_first = first;
	region->template_end = end;
	region->template_length = 0;
	region->template_lost = false;
	region->chunk = chunk;
	region->frozen_forks = 0;
	return 0;
}

static bool make_segment(const struct odf_region *region, char *aside, size_t at, size_t size)
{
	if (region_map_file(region, aside + at, size, MAP_SHARED | MAP_FIXED_NOREPLACE, region->file, at) == NULL)
		return false;
	if (sys_call3(SYS_madvise, aside + at, size, MADV_DONTFORK) < 0) {
		(void)region_unmap(aside + at, size);
		return false;
	}
	(void)sys_call3(SYS_madvise, aside + at, size, MADV_DONTDUMP);
	return true;
}

/* For the FROZEN memory below `limit`: maps its views, up to the first that fails, or unmaps them. Returns where it
 * ended. */
static size_t for_segments(const struct odf_region *region, char *aside, size_t limit, bool makes)
{
	size_t at = 0, end;

	for (; at < limit; at = end) {
		const struct region_extent *extent = region_extent_at(region, at, limit, &end);
		if (region_is_live(region, at, &end) || extent != NULL)
			continue;
		if (makes && !make_segment(region, aside, at, end - at))
			break;
		if (!makes)
			(void)region_unmap(aside + at, end - at);
	}
	return at;
}

/* All or none: views that stay would use up the program's mappings, and lie in the way of the next try. */
static int make_in_place(const struct odf_region *region, char *aside)
{
	size_t made = for_segments(region, aside, region->length, true);

	if (made == region->length)
		return 0;
	(void)for_segments(region, aside, made, false);
	return ENOMEM;
}

static void use_aside(struct odf_region *region, char *aside)
{
	if (region->aside_lost)
		region->old_asides[region->old_aside++ % REGION_OLD_ASIDES] = region->aside;
	region->aside = aside; /* the old one is left alone, as parts of it may be others' by now */
}

int region_aside_make(struct odf_region *region)
{
	char *area, *aside;

	if (region->in_place) {
		int error;
		aside = region_place_beside(region, false);
		error = make_in_place(region, aside);
		if (error == 0) {
			use_aside(region, aside);
			region->aside_lost = false;
		}
		return error;
	}
	area = region_map_beside(region, region->length + REGION_PUD, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
	use_aside(region, aside);
	region->aside_lost = false;
	return 0;
}

int region_work_make(struct odf_region *region)
{
	size_t size = 2 * region->work_size + REGION_PUD;
	char *area;

	if (region->in_place) {
		region->scratch = region_place_beside(region, false);
		region->staging = region->scratch + region->work_size;
		return 0;
	}
	area = region_map_beside(region, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

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
