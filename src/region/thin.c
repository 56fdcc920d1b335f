/* SPDX-License-Identifier: MIT
 * If other threads run and cannot be kept from the memory, the region stays FROZEN. When no descendant is left, the
 * file's pages under private ones, which are there twice, are given back. By the keeper. */
#include <errno.h>

#include "keeper.h"

#define THIN_SLICE REGION_TABLE /* a fork waits for it */
/* From so many released bytes on a test for descendants pays. */
#define RELEASED_LEAST ((size_t)256 << 10)

void region_note_released(struct odf_region *region, size_t length)
{
	size_t at = region->released_at + RELEASED_LEAST;
	bool was_enough = region->released >= at;

	region->released += length;
	if (!was_enough && region->released >= at && region_keeper_settling() == ODF_REGION_SETTLES_AT_FORK)
		region_keeper_call();
}

bool region_thin_pays(const struct odf_region *region)
{
	return __atomic_load_n(&region->released, __ATOMIC_RELAXED) >= RELEASED_LEAST;
}

bool region_thin_is_wanted(struct odf_region *region, bool child_ended)
{
	bool wanted;

	region_lock_as_keeper();
	wanted = region->released >= region->released_at + RELEASED_LEAST ||
		 (child_ended && region->released >= RELEASED_LEAST);
	if (wanted)
		region->released_at = region->released;
	region_unlock_as_keeper();
	return wanted;
}

/* No process reads the file's pages any more under zeros, or under pages of this process's own. */
static int thin_slice(struct odf_region *region, const struct region_settler *settler, size_t from, size_t end)
{
	struct region_run *runs = settler->desk->runs;
	char *at = region->home + from, *stop = region->home + end;

	for (size_t page = from / REGION_PAGE; page < end / REGION_PAGE;) {
		bool discarded;
		size_t next = region_discard_run(region, page, end / REGION_PAGE, &discarded);
		if (discarded)
			(void)sys_call3(SYS_madvise, region->aside + page * REGION_PAGE, (next - page) * REGION_PAGE,
					MADV_REMOVE);
		page = next;
	}
	/* Not under the kernel's zero page: punching the file unmaps it from home a moment before it removes the file's
	 * page, and a thread that reads or writes there in between would get the file's page. */
	while (at < stop) {
		long count = region_private(settler->pagemap, at, stop, false, 0, runs, REGION_RUNS, &at);
		if (count < 0)
			return (int)-count;
		for (long i = 0; i < count; i++) /* if it fails, the next pass may succeed */
			(void)sys_call3(SYS_madvise, region->aside + (runs[i].start - region->home),
					runs[i].end - runs[i].start, MADV_REMOVE);
	}
	return 0;
}

int region_thin(struct odf_region *region, const struct region_settler *settler)
{
	size_t released = __atomic_load_n(&region->released, __ATOMIC_RELAXED);
	uint64_t epoch;
	int error = region_settle_begin(region, &epoch);

	for (size_t at = 0, end; error == 0 && at < region->capacity / REGION_TABLE * REGION_TABLE; at = end) {
		size_t limit = at + THIN_SLICE < region->capacity ? at + THIN_SLICE : region->capacity;
		const struct region_extent *extent;
		/* A thread that is about to fork may have ordered a settle. */
		if (keeper_has_order() || limits_are_near()) {
			error = EAGAIN;
			break;
		}
		region_lock_as_keeper();
		/* Invariant 1, as for a step. */
		if (region->epoch != epoch || !region->vacant || region->visible || region_has_pending_forks() ||
		    region->live_length > 0 || region->aside_lost)
			error = EAGAIN;
		end = limit;
		extent = error != 0 ? NULL : region_extent_at(region, at, limit, &end);
		if (error == 0 && extent == NULL) {
			error = region_verify_as_keeper(region, at, end - at);
			if (error == 0)
				error = thin_slice(region, settler, at, end);
		} else if (extent != NULL && extent->stale && extent->kind == REGION_FOREIGN) {
			/* Unmapped while the region was FROZEN. If it fails, the next pass may succeed. */
			(void)region_clean(region, extent, at, end, &end);
		}
		region_unlock_as_keeper();
		settler->between_steps(&(struct region_progress){ 0 });
	}
	/* The region stays FROZEN, and children are to inherit it. */
	region_lock_as_keeper();
	if (error == 0) { /* bytes that were released meanwhile still count */
		region->released -= released < region->released ? released : region->released;
		region->released_at = 0;
	}
	if (region->epoch == epoch && !region->visible && region->live_length == 0 && region_show(region) != 0)
		region->visible = false; /* the next fork shows it, or fails */
	region_unlock_as_keeper();
	return error;
}
