/* SPDX-License-Identifier: MIT
 * Discarded memory reads as zeros, and a frozen file does not change for that (invariant 6). */
#include <errno.h>
#include <string.h>

#include "bits.h"
#include "internal.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

size_t region_discard_run(const struct odf_region *region, size_t page, size_t limit, bool *discarded)
{
	if (region->has_discarded)
		return bits_run(region->discarded, page, limit, discarded);
	*discarded = false;
	return limit;
}

void region_discard_forget(struct odf_region *region, size_t from, size_t length)
{
	size_t page = from / REGION_PAGE, end = (from + length) / REGION_PAGE;

	if (!region->has_discarded)
		return;
	while (page < end) {
		bool zeros;
		page = region_discard_run(region, page, end, &zeros);
		if (zeros && region->discard_runs > 0)
			region->discard_runs--;
	}
	bits_put(region->discarded, from / REGION_PAGE, end, false);
}

void region_discard_mark(struct odf_region *region, size_t from, size_t length)
{
	region->discard_runs++;
	region->has_discarded = true;
	bits_put(region->discarded, from / REGION_PAGE, (from + length) / REGION_PAGE, true);
}

/* The kernel may fail after it has unmapped what was there. A thread that touches that gap would get SIGSEGV, so the
 * call is repeated until it succeeds. */
bool region_map_zeros(char *start, size_t length, int protection)
{
	while (region_map(start, length, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
	       NULL) {
		if (region_is_mapped(start, length))
			return false;
		region_pause_ms(1);
	}
	return true;
}

bool region_hide_zeros(const struct odf_region *region, char *start, size_t length)
{
	return region->visible || region->in_place || sys_call3(SYS_madvise, start, length, MADV_DONTFORK) == 0;
}

/* For FROZEN memory, and in a child. Pages beyond the capacity, which only complete the last table, are not touched. */
static void lay_zeros(struct odf_region *region, size_t from, size_t length)
{
	char *start = region->home + from;

	if (length < REGION_ZEROS_MAPPED && region_put_zero_pages(start, length))
		return; /* a settle merges them like zeros that were written */
	if (length >= REGION_DISCARD_MAPPED && region->discard_runs < REGION_DISCARD_RUNS) {
		bool already;
		if (region_discard_run(region, from / REGION_PAGE, (from + length) / REGION_PAGE, &already) ==
			    (from + length) / REGION_PAGE &&
		    already && sys_call3(SYS_madvise, start, length, MADV_DONTNEED) == 0)
			return;
		if (region_map_memory(region, from, length)) {
			region_discard_mark(region, from, length);
			if (!region->inherited && !region_hide_zeros(region, start, length))
				region->doubt = true;
			return;
		}
	}
	/* Private pages of zeros, which a settle punches out of the file as well. */
	memset(start, 0, length);
}

/* ENOMEM: a part is not mapped. EINVAL: a part is locked, and `unlocked` says that locked memory is to stay as it
 * is. */
static int discard_live(struct odf_region *region, size_t from, size_t length, bool unlocked)
{
	/* The advice at home comes first, whatever is mapped there. The file's pages are then removed through another
	 * mapping, as the program may have mapped another file at home by a raw system call. */
	long error = region->source != NULL ? sys_call3(SYS_madvise, region->home + from, length, MADV_DONTNEED) : 0;

	if (error == -ENOMEM || (error == -EINVAL && unlocked))
		return (int)-error;
	if (region->source != NULL && error == 0 && region_punch(region, from, length))
		return 0;
	/* Otherwise zeros are written. Without a source the advice at home removes the file's pages, and unmaps
	 * them. */
	if (region->source != NULL) {
		memset(region->home + from, 0, length);
		return 0;
	}
	if (sys_call3(SYS_madvise, region->home + from, length, MADV_REMOVE) < 0)
		memset(region->home + from, 0, length);
	return 0;
}

static bool overlap(struct region_piece a, struct region_piece b, struct region_piece *both)
{
	size_t from = a.from > b.from ? a.from : b.from;
	size_t end = a.from + a.length < b.from + b.length ? a.from + a.length : b.from + b.length;

	*both = (struct region_piece){ from, from < end ? end - from : 0 };
	return from < end;
}

/* For memory that is not LIVE. */
static int discard_private(struct odf_region *region, size_t from, size_t length, bool unlocked)
{
	bool own = region->inherited || region->left;

	if (unlocked && region_is_locked(region->home + from, length))
		return EINVAL;
	lay_zeros(region, from, length);
	if (own)
		region->given_back += length;
	else
		region_note_released(region, length);
	return 0;
}

static int discard_memory(struct odf_region *region, size_t from, size_t length, bool unlocked)
{
	struct region_piece wanted = { from, length };
	struct region_piece pieces[2], part;
	size_t frozen_from = (region->live_from + region->live_length) % region->length;
	int count, error = 0, failed;

	if (region->inherited || region->left)
		return discard_private(region, wanted.from, wanted.length, unlocked);
	count = region_pieces(region, region->live_from, region->live_length, pieces);
	for (int i = 0; i < count; i++)
		if (overlap(pieces[i], wanted, &part) &&
		    (failed = discard_live(region, part.from, part.length, unlocked)) != 0)
			error = failed;
	count = region_pieces(region, frozen_from, region->length - region->live_length, pieces);
	for (int i = 0; i < count; i++)
		if (overlap(pieces[i], wanted, &part) &&
		    (failed = discard_private(region, part.from, part.length, unlocked)) != 0)
			error = failed;
	return error;
}

/* For a place that turned out not to be the region's memory. Before Linux 5.18 no call discards locked memory. */
static long discard_by_kernel(char *start, size_t length, bool unlocked)
{
	long error = sys_call3(SYS_madvise, start, length, unlocked ? MADV_DONTNEED : MADV_DONTNEED_LOCKED);

	return error == -EINVAL && !unlocked ? sys_call3(SYS_madvise, start, length, MADV_DONTNEED) : error;
}

static int discard(struct odf_region *region, size_t from, size_t length, bool unlocked)
{
	size_t limit = from + length, end = limit;
	bool changed = false;
	int error = 0;

	/* Zeros are laid over FROZEN and inherited memory, and must not be laid over another mapping. */
	if (region->extents != NULL && (region->inherited || region->left))
		changed = region_check(region, from, length) == 0;
	else if (!region->inherited && !(region_is_live(region, from, &end) && end == limit))
		(void)region_verify_now(region, from, length, &changed);
	if (!changed)
		error = discard_memory(region, from, length, unlocked);
	if (error != 0 && region->extents != NULL)
		(void)region_verify_now(region, from, length, &changed);
	if (changed && error == EINVAL) /* perhaps for a place that is not the region's; it is discarded below */
		error = 0;
	for (size_t at = from; changed && at < limit; at = end) {
		const struct region_extent *extent = region_extent_at(region, at, limit, &end);
		char *start = region->home + at;
		long failed = extent == NULL ? -discard_memory(region, at, end - at, unlocked)
					     : discard_by_kernel(start, end - at, unlocked);
		if (failed == -ENOMEM || (failed == -EINVAL && unlocked))
			error = (int)-failed;
		else if (extent == NULL)
			continue;
		/* An island may still show the file, which has old bytes there. */
		else if (extent->kind == REGION_ISLAND && !region_is_one_anonymous(start, end - at) &&
			 !region_map_zeros(start, end - at, extent->protection))
			error = ENOMEM;
	}
	return error;
}

int region_discard(struct odf_region *region, size_t from, size_t length)
{
	return discard(region, from, length, false);
}

int region_discard_unlocked(struct odf_region *region, size_t from, size_t length)
{
	return discard(region, from, length, true);
}

int odf_region_discard(odf_region *region, void *address, size_t length)
{
	uint64_t mask;
	size_t from;

	if (region == NULL)
		return EINVAL;
	from = (size_t)((char *)address - region->home);
	if ((char *)address < region->home || from % REGION_PAGE != 0 || from > region->capacity ||
	    length > region->capacity - from)
		return EINVAL;
	length = (length + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;
	if (length == 0)
		return 0;
	region_meet_child();
	region_lock(&mask);
	if (region->absent) {
		region_unlock(&mask);
		return ENXIO;
	}
	(void)region_discard(region, from, length);
	region_unlock(&mask);
	return 0;
}
