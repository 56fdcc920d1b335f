/* SPDX-License-Identifier: MIT
 * Where other threads run and cannot be kept away from the memory, the region stays FROZEN; what it holds twice by
 * then, the file's pages under private ones, is given back when no descendant is left. By the keeper. */
#include <errno.h>

#include "keeper.h"

#define THIN_SLICE REGION_TABLE /* a fork waits for it */

/* What the process has pages of its own over, or zeros, nobody reads in the file any more. */
static int thin_slice(struct odf_region *region, const struct region_settler *settler, size_t from, size_t end)
{
	struct region_run *runs = settler->desk->runs;
	char *at = region->home + from, *stop = region->home + end;

	for (size_t page = from / REGION_PAGE; page < end / REGION_PAGE;) {
		bool discarded;
		size_t next = region_discard_run(region, page, end / REGION_PAGE, &discarded);
		if (discarded)
			(void)sys_call3(SYS_madvise, region->aside + page * REGION_PAGE, (next - page) * REGION_PAGE, MADV_REMOVE);
		page = next;
	}
	/* Not under the kernel's page of zeros: it goes from home as the file's pages do, a moment before them, and who
	 * reads or writes there then would get the file's. */
	while (at < stop) {
		long count = region_private(settler->pagemap, at, stop, false, 0, runs, REGION_RUNS, &at);
		if (count < 0)
			return (int)-count;
		for (long i = 0; i < count; i++) /* what cannot be given back now may be the next time */
			(void)sys_call3(SYS_madvise, region->aside + (runs[i].start - region->home), runs[i].end - runs[i].start, MADV_REMOVE);
	}
	return 0;
}

int region_thin(struct odf_region *region, const struct region_settler *settler)
{
	uint64_t epoch;
	int error = region_settle_begin(region, &epoch);

	for (size_t at = 0, end; error == 0 && at < region->capacity / REGION_TABLE * REGION_TABLE; at = end) {
		size_t limit = at + THIN_SLICE < region->capacity ? at + THIN_SLICE : region->capacity;
		/* A fork that is about to come may want to settle. */
		if (keeper_has_order()) {
			error = EAGAIN;
			break;
		}
		region_lock_as_keeper();
		/* Invariant 1, as for a step. */
		if (region->epoch != epoch || !region->vacant || region->visible || region_has_pending_forks() || region->live_length > 0 ||
		    region->aside_lost)
			error = EAGAIN;
		else if (region_extent_at(region, at, limit, &end) == NULL) {
			error = region_verify_as_keeper(region, at, end - at);
			if (error == 0)
				error = thin_slice(region, settler, at, end);
		}
		region_unlock_as_keeper();
		settler->between_steps(&(struct region_progress){ 0 });
	}
	/* It goes on FROZEN, and children are to have it. */
	region_lock_as_keeper();
	if (region->epoch == epoch && !region->visible && region->live_length == 0 && region_show(region) != 0)
		region->visible = false; /* the next fork shows it, or fails */
	region_unlock_as_keeper();
	return error;
}
