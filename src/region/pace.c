/* SPDX-License-Identifier: MIT
 *
 * How a settle is cut into steps, and what it learns from them: it is to be done before the next fork. By the keeper,
 * without the lock.
 */
#include "step.h"

/* The cost of moving a page table to staging and home, in page faults. */
#define TABLE_FAULTS   20
#define PATIENCE_LEAST 8u
#define PATIENCE_MOST  256u

/* The number of page tables to settle. */
size_t pace_count_tables(const struct odf_region *region)
{
	size_t at = region->live_length, bytes = 0;

	region_lock_as_keeper();
	for (size_t end; at < region->length; at = end) {
		size_t from = (region->live_from + at) % region->length, limit = from + (region->length - at), length;
		if (limit > region->length)
			limit = region->length;
		if (region_extent_at(region, from, limit, &length) == NULL)
			bytes += length - from;
		end = at + (length - from);
	}
	region_unlock_as_keeper();
	return (bytes + REGION_TABLE - 1) / REGION_TABLE;
}

/* A step is to leave page tables out: there is no time to move them, and the program touches so few pages of each
 * between two forks that it costs less to map these again. */
bool pace_wants_fresh(const struct odf_region *region, const struct region_settler *settler, size_t tables,
			size_t rest)
{
	if (settler->userfault < 0 || region_fresh_always)
		return settler->userfault >= 0;
	return region->behind == REGION_BEHIND_MOST && region->round_faults < tables * TABLE_FAULTS &&
	       settler->is_hurried(rest * region->moved_table_ns);
}

/* The next fork is expected before the rest is done. */
bool pace_is_late(const struct odf_region *region, const struct region_settler *settler, size_t rest)
{
	return settler->userfault >= 0 && settler->is_hurried(rest * region->moved_table_ns);
}

/* One step may do all that is left, for which a look is worth its cost. Each own page was a page fault: after more
 * faults, in this round or in the last one, there are more pages than that. */
bool pace_may_be_last(const struct odf_region *region)
{
	return region->touched < STEP_LAST_PAGES && region->round_faults < STEP_LAST_PAGES && !region_fresh_always;
}

/* After a step that succeeded. While page tables are left out, the known cost of moving them decays, so that it is
 * tried again. */
void pace_learn(struct odf_region *region, const struct step *step, uint64_t step_ns)
{
	uint64_t table_ns = step_ns / ((step->length + REGION_TABLE - 1) / REGION_TABLE);
	uint64_t *known = step->is_fresh ? &region->fresh_table_ns : &region->moved_table_ns;

	*known = *known == 0 ? table_ns : (3 * *known + (table_ns < 4 * *known ? table_ns : 4 * *known)) / 4;
	if (step->is_fresh)
		region->moved_table_ns -= region->moved_table_ns / 64;
}

/* If a fork came before the end of the last settle, this one is to be faster. */
void pace_note_interruption(struct odf_region *region)
{
	if (region->counters.interrupted == region->seen_interrupted)
		return;
	region->seen_interrupted = region->counters.interrupted;
	region->in_time = 0;
	if (region->behind == REGION_BEHIND_MOST)
		return;
	region->behind++;
	region->patience = region->patience < PATIENCE_LEAST  ? PATIENCE_LEAST
			   : region->patience < PATIENCE_MOST ? 2 * region->patience
							      : PATIENCE_MOST;
}

/* After `patience` settles in time the dearer way is tried again. Each time it is still too slow, patience doubles. */
void pace_note_completion(struct odf_region *region)
{
	if (region->behind == 0 || ++region->in_time <= region->patience)
		return;
	region->in_time = 0;
	if (--region->behind == 0)
		region->patience = 0;
}

/* A step works in address space of the program, which the program sees. In a region in place it takes at most what
 * aside no longer needs after `done` bytes, or a sixteenth of the region. A step that moves no page tables needs twice
 * as much. */
size_t pace_largest_step(const struct odf_region *region, size_t tables, size_t done, bool is_fresh)
{
	size_t least = tables / 16 > 2 ? tables / 16 : 2, most;

	if (!region->in_place)
		return REGION_PUD;
	most = done / REGION_TABLE / (is_fresh ? 2 : 1);
	return (most < least ? least : most) * REGION_TABLE;
}
