/* SPDX-License-Identifier: MIT
 *
 * The list of what of home is not memory of the region's (extent.c), and where the LIVE part of home begins and ends.
 * Under the lock; async-signal-safe.
 */
#include <string.h>

#include "internal.h"

/* The first that ends after `at`. */
static size_t find(const struct odf_region *region, size_t at)
{
	const struct region_extents *extents = region->extents;
	size_t low = 0, high = extents->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (extents->list[middle].from + extents->list[middle].length > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static size_t end_of(const struct region_extent *extent)
{
	return extent->from + extent->length;
}

const struct region_extent *region_extent_at(const struct odf_region *region, size_t at, size_t limit, size_t *end)
{
	const struct region_extent *extent;
	size_t index;

	*end = limit;
	if (region->extents == NULL)
		return NULL;
	index = find(region, at);
	extent = &region->extents->list[index];
	if (index == region->extents->count)
		return NULL;
	if (extent->from > at) {
		*end = extent->from < limit ? extent->from : limit;
		return NULL;
	}
	*end = end_of(extent) < limit ? end_of(extent) : limit;
	return extent;
}

struct region_extent region_run_at(const struct odf_region *region, size_t at, size_t limit)
{
	size_t end;
	const struct region_extent *extent = region_extent_at(region, at, limit, &end);
	struct region_extent run = { .kind = REGION_MEMORY, .protection = (unsigned char)region->rights };

	if (extent != NULL)
		run = *extent;
	run.from = at;
	run.length = end - at;
	return run;
}

static bool same(const struct region_extent *a, const struct region_extent *b)
{
	return a->kind == b->kind && a->stale == b->stale && a->sealed == b->sealed && a->young == b->young &&
	       ((a->kind != REGION_ISLAND && !a->young) || (a->protection == b->protection && a->advice == b->advice));
}

/* One more piece can make two more extents. Asked before anything is changed. */
bool region_has_room(struct odf_region *region)
{
	return region_makes_room(region, 2);
}

static void append(struct region_extents *extents, struct region_extent extent)
{
	struct region_extent *last = &extents->list[extents->count];

	if (extents->count > 0 && end_of(last - 1) == extent.from && same(last - 1, &extent)) {
		last[-1].length += extent.length;
	} else {
		*last = extent;
		extents->count++;
	}
}

/* How many of the extents from `from` on up to `end` begin behind memory. */
static size_t count_pieces(const struct region_extents *extents, size_t from, size_t end)
{
	size_t pieces = 0;

	for (size_t i = from; i < end; i++)
		pieces += extents->list[i].from > (i > 0 ? end_of(&extents->list[i - 1]) : 0);
	return pieces;
}

/* [run.from, + run.length) is of run's kind from now on. */
void region_record(struct odf_region *region, struct region_extent run)
{
	struct region_extents *was = region->extents, *is = region->other_extents;
	size_t end = end_of(&run), first = find(region, run.from), past = find(region, end);
	size_t gone = count_pieces(was, first, past < was->count ? past + 1 : past);

	if (run.kind == REGION_ISLAND)
		atomic_store_explicit(&region->has_islands, true, memory_order_relaxed);
	memcpy(is->list, was->list, first * sizeof was->list[0]);
	is->count = first;
	if (first < was->count && was->list[first].from < run.from) {
		struct region_extent before = was->list[first];
		before.length = run.from - before.from;
		append(is, before);
	}
	if (run.kind != REGION_MEMORY)
		append(is, run);
	if (past < was->count) {
		struct region_extent after = was->list[past++];
		if (after.from < end) {
			after.length = end_of(&after) - end;
			after.from = end;
		}
		append(is, after);
	}
	/* What comes after follows upon what it did. */
	is->pieces = was->pieces - gone + count_pieces(is, first, is->count);
	memcpy(is->list + is->count, was->list + past, (was->count - past) * sizeof was->list[0]);
	is->count += was->count - past;
	region->other_extents = was;
	__atomic_store_n(&region->extents, is, __ATOMIC_RELEASE);
}

bool region_is_live(const struct odf_region *region, size_t at, size_t *end)
{
	/* in the circle, from where the LIVE part begins */
	size_t into = (at + region->length - region->live_from) % region->length;
	bool live = !region->inherited && into < region->live_length;
	size_t rest = region->inherited ? region->length : (live ? region->live_length : region->length) - into;

	if (*end - at > rest)
		*end = at + rest;
	return live;
}

bool region_forget_unmapped(struct odf_region *region, size_t from, size_t length)
{
	size_t half = region_half(length);

	if (region->extents == NULL || region_is_mapped(region->home + from, length) || !region_has_room(region))
		return false;
	if (length > REGION_PAGE) {
		bool first = region_forget_unmapped(region, from, half),
		     second = region_forget_unmapped(region, from + half, length - half);
		return first || second;
	}
	region_record(region, (struct region_extent){ .from = from, .length = length, .kind = REGION_FOREIGN,
						      .stale = true });
	return true;
}

void region_set_island(struct odf_region *region, size_t from, size_t length, int protection, unsigned advice)
{
	struct region_extent run = region_run_at(region, from, from + length);

	if (run.kind != REGION_ISLAND || run.length != length || !region_has_room(region))
		return;
	run.protection = (unsigned char)protection;
	run.advice = (unsigned char)advice;
	region_record(region, run);
}

size_t region_find_hole(const struct odf_region *region, size_t length, size_t alignment)
{
	size_t start = 0, end = 0; /* of the run of holes so far */

	for (size_t i = 0; i < region->extents->count; i++) {
		const struct region_extent *extent = &region->extents->list[i];
		size_t limit = end_of(extent), aligned;
		if (extent->kind != REGION_HOLE)
			continue;
		if (extent->from != end)
			start = extent->from;
		end = limit;
		if (extent->stale) { /* LIVE, it waits for a settle to be punched */
			size_t until = limit;
			if (region_is_live(region, extent->from, &until) || until != limit)
				start = end;
		}
		aligned = (size_t)(((uintptr_t)region->home + start + alignment - 1) / alignment * alignment -
				   (uintptr_t)region->home);
		if (end > aligned && end - aligned >= length)
			return aligned;
	}
	return SIZE_MAX;
}

size_t region_piece_count(const struct odf_region *region)
{
	const struct region_extents *extents = region->extents;

	if (extents == NULL)
		return 0;
	return region->in_place ? extents->pieces : extents->count;
}

size_t region_foreign_bytes(const struct odf_region *region)
{
	size_t bytes = 0;

	for (size_t i = 0; region->extents != NULL && !region->in_place && i < region->extents->count; i++)
		if (region->extents->list[i].kind == REGION_FOREIGN)
			bytes += region->extents->list[i].length;
	return bytes;
}
