/* SPDX-License-Identifier: MIT
 *
 * Compares a range with the kernel's mappings, for a call that the program makes about it. A freeze and a settle need
 * only what verify.c compares. This compares islands too, and all memory of a region that was inherited or given up: by
 * raw system calls the program may have mapped something else there, unmapped it, or changed its rights.
 *
 * Under the lock; async-signal-safe.
 */
#include <errno.h>

#include "internal.h"

/* Its memory is ordinary memory of this process. */
static bool is_own(const struct odf_region *region)
{
	return region->inherited || region->left;
}

static bool is_to_be_asked(const struct odf_region *region, const struct region_extent *run)
{
	return run->kind == REGION_ISLAND || (run->kind == REGION_MEMORY && is_own(region));
}

/* The mapping is what the list says: a private view of the file at its place, or anonymous memory that has replaced it.
 * An island may be either at any time; a child's memory is anonymous where zeros were laid over it and, if the region
 * is not in place, where a hole was taken. *stop: lowered to where the answer changes. */
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

	/* A seccomp filter may punish the call below: one that the process entered after it had left its regions, or a
	 * child's own. */
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
