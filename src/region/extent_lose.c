/* SPDX-License-Identifier: MIT
 *
 * Parts of home of which the program or the kernel makes something else: the program maps something there or seals it,
 * or the kernel gets the place. As in extent.c, one run at a time. Under the lock; async-signal-safe.
 */
#include <errno.h>

#include "internal.h"

static int prepare_to_lose(struct odf_region *region, struct region_extent run, bool live)
{
	if (live && !region_has_aside(region))
		return ENOMEM;
	return live ? region_move_aside(region, run.from, run.length) : 0;
}

int region_lose_run(struct odf_region *region, struct region_extent run, bool live)
{
	bool stale = run.stale;

	if (run.kind == REGION_MEMORY && live) {
		region_aside_clear(region, run.from, run.length);
		stale = !region_punch(region, run.from, run.length);
	} else if (run.kind == REGION_MEMORY || run.kind == REGION_ISLAND) {
		region_discard_forget(region, run.from, run.length);
		region->vacant = false;
		region->given_back += run.length;
		stale = true;
		region_note_released(region, run.length);
	}
	region_record(region, (struct region_extent){ .from = run.from, .length = run.length, .kind = REGION_FOREIGN,
						      .stale = stale });
	return 0;
}

int region_lose_begin(struct odf_region *region, size_t from, size_t length)
{
	size_t runs = 0, limit = from + length;
	bool changed;
	int error = region_verify_now(region, from, length, &changed);

	if (error != 0)
		return error;
	/* Makes room now, so that region_lose_end cannot fail. */
	for (size_t at = from; at < limit; runs++) {
		size_t end;
		(void)region_extent_at(region, at, limit, &end);
		(void)region_is_live(region, at, &end);
		at = end;
	}
	if (!region_makes_room(region, 2 * runs))
		return ENOMEM;
	return region_for_runs(region, from, length, 1u << REGION_MEMORY, prepare_to_lose);
}

int region_lose(struct odf_region *region, size_t from, size_t length)
{
	unsigned kinds = 1u << REGION_MEMORY | 1u << REGION_ISLAND | 1u << REGION_HOLE;

	return region_for_runs(region, from, length, kinds, region_lose_run);
}

void region_lose_end(struct odf_region *region, size_t from, size_t length)
{
	(void)region_lose(region, from, length); /* region_lose_begin has made room */
}

static int unmap_hole(struct odf_region *region, struct region_extent run, bool live)
{
	(void)live;
	if (region_unmap(region->home + run.from, run.length) != 0)
		return ENOMEM;
	run.kind = REGION_FOREIGN;
	run.stale = false;
	region_record(region, run);
	return 0;
}

static int open_hole(struct odf_region *region, struct region_extent run, bool live)
{
	(void)live;
	if (region_unmap(region->home + run.from, run.length) != 0)
		return ENOMEM;
	run.kind = REGION_FOREIGN;
	region_record(region, run);
	return 0;
}

int region_open(struct odf_region *region, size_t from, size_t length)
{
	return region_for_runs(region, from, length, 1u << REGION_HOLE, open_hole);
}

/* The run stays a view of the file for good, which keeps its pages there. */
static int leave_sealed_run(struct odf_region *region, struct region_extent run, bool live)
{
	(void)live;
	region_record(region, (struct region_extent){ .from = run.from, .length = run.length, .kind = REGION_FOREIGN,
						      .sealed = true });
	return 0;
}

int region_leave_sealed(struct odf_region *region, size_t from, size_t length)
{
	return region_for_runs(region, from, length, 1u << REGION_MEMORY, leave_sealed_run);
}

static int seal_run(struct odf_region *region, struct region_extent run, bool live)
{
	(void)live;
	run.sealed = true;
	run.young = false;
	region_record(region, run);
	return 0;
}

void region_seal(struct odf_region *region, size_t from, size_t length)
{
	/* if there is no room, a later refusal by the kernel is reported by another errno value */
	(void)region_for_runs(region, from, length, 1u << REGION_ISLAND | 1u << REGION_FOREIGN, seal_run);
}

int region_unmap_holes(struct odf_region *region)
{
	return region_for_runs(region, 0, region->length, 1u << REGION_HOLE, unmap_hole);
}
