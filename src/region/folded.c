/* SPDX-License-Identifier: MIT
 *
 * How a region in place saves address space, which counts for the program's limits and its size. Its window is as large
 * as memory may ever become; its views are smaller:
 *
 *     aside, scratch, staging   are addresses where nothing is mapped; a place there is reserved only while it is used
 *     source, template          are one page of the file each, below all memory (or the window's first page); they are
 *                               extended as far as is needed ("unfolded"), and cut back ("folded")
 *
 * So while LIVE it takes home only, and while FROZEN home and aside.
 *
 * Under the lock; async-signal-safe. In other regions all of this is reserved as a whole, for good.
 */
#include <errno.h>

#include "internal.h"

atomic_bool region_reach_wanted, region_reach_is_late;

static bool is_something(const struct region_extent *extent)
{
	return extent->kind != REGION_FOREIGN || extent->young;
}

size_t region_lowest(const struct odf_region *region)
{
	struct region_place place = { 0, 0 };
	const struct region_extent *extent;
	size_t end = 0;

	while (region->extents != NULL && (extent = region_extent_next(region->extents, &place)) != NULL &&
	       extent->from == end && !is_something(extent))
		end += extent->length;
	return end;
}

/* Where the run of extents at the end of home begins that are foreign and not young; `past_all`: that are of any
 * kind. */
static size_t end_of_rest(const struct odf_region *region, bool past_all)
{
	const struct region_extents *extents = region->extents;
	struct region_place place = extents != NULL ? region_extents_end(extents) : (struct region_place){ 0, 0 };
	const struct region_extent *extent;
	size_t end = region->length;

	while (extents != NULL && (extent = region_extent_before(extents, &place)) != NULL &&
	       extent->from + extent->length == end && (past_all || !is_something(extent)))
		end = extent->from;
	return end;
}

size_t region_top(const struct odf_region *region)
{
	return end_of_rest(region, false);
}

size_t region_highest(const struct odf_region *region)
{
	return end_of_rest(region, true);
}

/* ---- Source and template ---- */

/* How many places are tried. */
#define PLACES_BESIDE 5

static bool take(char *place, size_t length)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;

	return region_map(place, length, PROT_NONE, flags, -1, 0) != NULL;
}

/* Extends the view of [first, *end) to `to`. If there is no room behind it, it moves to a place beside the region. The
 * kernel must not choose the place: that could be a gap that the program has made among its own mappings, and may unmap
 * again by a raw system call. */
static bool unfold(struct odf_region *region, char **base, size_t first, size_t *end, size_t to)
{
	char *view = *base + first;
	long result = sys_call4(SYS_mremap, view, *end - first, to - first, 0);

	for (unsigned tries = 0; result == -ENOMEM && tries < PLACES_BESIDE; tries++) {
		char *place = region_place_beside(region, true) + first;
		if (!take(place, to - first))
			continue;
		result = sys_call5(SYS_mremap, view, *end - first, to - first, MREMAP_MAYMOVE | MREMAP_FIXED, place);
		if (result < 0 && result >= -4095)
			(void)region_unmap(place, to - first);
		else
			*base = place - first;
	}
	if (result < 0 && result >= -4095)
		return false;
	*end = to;
	return true;
}

/* If the kernel refuses to split the mapping, the view stays as it is, and is only larger. */
static void fold(char *base, size_t first, size_t *end)
{
	if (*end > first + REGION_PAGE && region_unmap(base + first + REGION_PAGE, *end - first - REGION_PAGE) == 0)
		*end = first + REGION_PAGE;
}

bool region_source_unfold(struct odf_region *region, size_t from, size_t to)
{
	if (!region->in_place)
		return region->source != NULL;
	if (region->source == NULL || from < region->source_from)
		return false;
	return to <= region->source_end ||
	       unfold(region, &region->source, region->source_from, &region->source_end, to);
}

void region_source_fold(struct odf_region *region)
{
	if (region->in_place && region->source != NULL)
		fold(region->source, region->source_from, &region->source_end);
}

void region_source_drop(struct odf_region *region)
{
	(void)region_unmap(region->source + region->source_from, region->source_end - region->source_from);
	region->source = NULL;
}

/* There is a template, and no part was taken out of it. */
static bool is_whole(const struct odf_region *region)
{
	return region->template != NULL && region->template_length == 0 && !region->template_lost;
}

bool region_template_unfold(struct odf_region *region, size_t to)
{
	if (!region->in_place || to <= region->template_end)
		return true;
	return is_whole(region) && region->chunk == 0 &&
	       unfold(region, &region->template, region->template_first, &region->template_end, to);
}

bool region_template_folds(const struct odf_region *region)
{
	return region->in_place && is_whole(region) && region->chunk == 0;
}

void region_template_fold(struct odf_region *region, size_t from, size_t length)
{
	size_t end = region->template_end;

	if (!region_template_folds(region))
		return;
	region_template_unmap(region, from + length, end > from + length ? end - from - length : 0);
	region->template_end = from;
	if (from > region->template_first) {
		fold(region->template, region->template_first, &region->template_end);
		return;
	}
	/* It is used up: nothing can be frozen until there is another template. */
	region->template = NULL;
	region->template_first = region->template_end = 0;
}

void region_template_unmap(struct odf_region *region, size_t from, size_t length)
{
	size_t end = from + length;

	if (from < region->template_first)
		from = region->template_first;
	if (end > region->template_end)
		end = region->template_end;
	if (from < end)
		(void)region_unmap(region->template + from, end - from);
}

bool region_template_reaches(const struct odf_region *region, size_t from, size_t to)
{
	if (!region->in_place)
		return true;
	return is_whole(region) && from >= region->template_first && (region->chunk == 0 || to <= region->template_end);
}

/* Lowers `reach` somewhat more, so that not each further mapping below the lowest one needs new views. */
static size_t with_slack(const struct odf_region *region, size_t reach)
{
	size_t highest = region_highest(region), slack = 0;

	if (highest > reach)
		slack = (highest - reach) / 8 / REGION_PAGE * REGION_PAGE;
	return slack < reach ? reach - slack : 0;
}

static bool wants_reach(const struct odf_region *region)
{
	return region->in_place && !region->inherited && !region->left && region->source != NULL &&
	       atomic_load_explicit(&region->reach, memory_order_relaxed) < region->source_from;
}

int region_views_reach(struct odf_region *region)
{
	int error;

	if (!wants_reach(region))
		return 0;
	atomic_store_explicit(&region->reach, with_slack(region, atomic_load(&region->reach)), memory_order_relaxed);
	error = region_source_make(region);
	/* The template must cover all that is LIVE, or is to be. */
	if (error == 0 && is_whole(region) && region->template_first > region->source_from)
		error = region_template_make(region);
	return error;
}

/* ---- Aside ---- */

/* Unmaps views that an operation on LIVE memory has left at aside because it failed later. False: something else is
 * there, or that is not known. */
static bool unmap_views(struct odf_region *region, char *start, char *end)
{
	struct region_mapping mapping;
	struct region_maps maps;
	bool ours = true;

	if (region->aside_lost || region_maps_begin(&maps) != 0)
		return false;
	while (ours && region_maps_find(&maps, start, &mapping) == 0 && mapping.start < end) {
		char *from = mapping.start > start ? mapping.start : start;
		char *until = mapping.end < end ? mapping.end : end;
		ours = region_is_view(region, &mapping) && region_is_part_of(region, &mapping, region->aside) &&
		       region_unmap(from, (size_t)(until - from)) == 0;
		start = until;
		region_maps_again(&maps);
	}
	region_maps_end(&maps);
	return ours;
}

/* Something is mapped there, or that is not known. */
static bool is_any_mapped(const char *start, const char *end)
{
	struct region_mapping mapping;
	struct region_maps maps;
	int error;

	if (region_maps_begin(&maps) != 0)
		return true;
	error = region_maps_find(&maps, start, &mapping);
	region_maps_end(&maps);
	return error == 0 ? mapping.start < end : error != ENOENT;
}

bool region_aside_take(struct odf_region *region, size_t from, size_t length)
{
	char *place = region->aside + from;

	if (!region->in_place)
		return true;
	if (region->aside_lost)
		return false;
	if (take(place, length))
		return true;
	if (unmap_views(region, place, place + length) && take(place, length))
		return true;
	/* Memory or address space is short; or another's mapping is there, and aside is lost. */
	if (is_any_mapped(place, place + length))
		region->aside_lost = true;
	return false;
}

void region_aside_release(struct odf_region *region, size_t from, size_t length)
{
	if (region->in_place && !region->aside_lost && length > 0)
		(void)region_unmap(region->aside + from, length);
}

void region_aside_clear(struct odf_region *region, size_t from, size_t length)
{
	if (region->in_place)
		(void)unmap_views(region, region->aside + from, region->aside + from + length); /* if there are any */
	else if (!region->aside_lost && !region_map_nothing(region->aside + from, length) &&
		 !region_is_mapped(region->aside + from, length))
		region->aside_lost = true;
}

void region_aside_drop(struct odf_region *region)
{
	if (region->aside_lost || region->aside == NULL)
		return;
	if (!region->in_place) {
		(void)region_unmap(region->aside, region->length);
		return;
	}
	for (size_t at = 0, end; at < region->length; at = end) {
		const struct region_extent *extent = region_extent_at(region, at, region->length, &end);
		if (!region_is_live(region, at, &end) && extent == NULL)
			region_aside_release(region, at, end - at);
	}
}

/* ---- Scratch and staging ---- */

bool region_work_take(struct odf_region *region, size_t at, size_t length)
{
	if (!region->in_place)
		return true;
	if (take(region->scratch + at, length)) {
		if (take(region->staging + at, length)) {
			region->work_at = at;
			region->work_length = length;
			return true;
		}
		(void)region_unmap(region->scratch + at, length);
	}
	(void)region_work_make(region); /* makes other places for the next step */
	return false;
}

/* `but`: so many bytes at the beginning are not mapped any more. */
void region_work_release(struct odf_region *region, char *place, size_t but)
{
	if (region->in_place && place != NULL && region->work_length > but)
		(void)region_unmap(place + region->work_at + but, region->work_length - but);
}
