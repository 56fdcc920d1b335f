/* SPDX-License-Identifier: MIT
 *
 * The whole truth of a range, for calls that the program makes about it: besides what verify.c looks at, which a
 * freeze and a settle need, whether islands are what the list says, and, in a child, all that it inherited. By system
 * calls that nobody sees the program may have put something else there, taken it away, or changed its rights.
 *
 * Under the lock; async-signal-safe.
 */
#include <errno.h>

#include "internal.h"

/* Of this only the program has anything. */
static bool is_own(const struct odf_region *region)
{
	return region->inherited || region->left;
}

static bool is_to_be_asked(const struct odf_region *region, const struct region_extent *run)
{
	return run->kind == REGION_ISLAND || (run->kind == REGION_MEMORY && is_own(region));
}

/* A view of the file that nobody else writes to, or anonymous memory that has taken its place: with an island at any
 * time, in a child's memory by zeros that were laid over it, and where it is not in place also for holes. *stop: how
 * far this holds, at most. */
static bool is_as_told(const struct odf_region *region, const struct region_extent *run,
		       const struct region_mapping *mapping, char **stop)
{
	size_t page = run->from / REGION_PAGE, limit = (size_t)(*stop - region->home) / REGION_PAGE;
	bool told = true;

	if (mapping->shared)
		return false;
	if (region_is_view(region, mapping))
		return mapping->offset + (uintptr_t)region->home == (uintptr_t)mapping->start;
	if (mapping->inode != 0 || mapping->device != 0)
		return false;
	if (run->kind == REGION_MEMORY && region->inherited && region->in_place)
		*stop = region->home + region_discard_run(region, page, limit, &told) * REGION_PAGE;
	return told;
}

static void set_rights(struct odf_region *region, struct region_extent run, int protection)
{
	if (protection == run.protection || !region_has_room(region))
		return;
	run.kind = REGION_ISLAND;
	run.protection = (unsigned char)protection;
	region_record(region, run);
}

static int check_run(struct odf_region *region, struct region_maps *maps, struct region_extent run)
{
	char *at = region->home + run.from, *end = at + run.length;
	int error = 0;

	if (run.kind == REGION_MEMORY)
		run.protection = (unsigned char)region->rights;
	while (at < end && error == 0) {
		struct region_mapping mapping = { 0 };
		char *stop = end;
		bool there, told;
		error = region_maps_find(maps, at, &mapping);
		if (error != 0 && error != ENOENT)
			return error;
		there = error == 0 && mapping.start <= at;
		if (there)
			stop = mapping.end < end ? mapping.end : end;
		else if (error == 0 && mapping.start < end)
			stop = mapping.start;
		run.from = (size_t)(at - region->home);
		told = there && is_as_told(region, &run, &mapping, &stop);
		run.length = (size_t)(stop - at);
		error = 0;
		if (told)
			set_rights(region, run, mapping.protection);
		else
			error = region_lose(region, run.from, run.length);
		at = stop;
	}
	return error;
}

static int check_rest(struct odf_region *region, size_t from, size_t limit)
{
	struct region_maps maps;
	bool begun = false;
	int error = 0;

	for (size_t at = from; at < limit && error == 0;) {
		struct region_extent run = region_run_at(region, at, limit);
		at += run.length;
		if (!is_to_be_asked(region, &run))
			continue;
		if (!begun)
			error = region_maps_begin(&maps);
		begun = begun || error == 0;
		if (error == 0)
			error = check_run(region, &maps, run);
	}
	if (begun)
		region_maps_end(&maps);
	return error;
}

int region_check(struct odf_region *region, size_t from, size_t length)
{
	bool changed;
	int error = region_verify_now(region, from, length, &changed);

	/* A filter, before which regions were left, or a child's own, may punish the question. */
	if (is_own(region) && !region_is_unfiltered())
		return 0;
	if (error != 0 || region->extents == NULL || region->absent)
		return error;
	return check_rest(region, from, from + length);
}

bool region_is_one_anonymous(const char *start, size_t length)
{
	struct region_mapping mapping;
	struct region_maps maps;
	bool one;

	if (!region_is_unfiltered() || region_maps_begin(&maps) != 0)
		return false;
	one = region_maps_find(&maps, start, &mapping) == 0 && mapping.start <= start &&
	      mapping.end >= start + length && !mapping.shared && mapping.inode == 0 && mapping.device == 0;
	region_maps_end(&maps);
	return one;
}
