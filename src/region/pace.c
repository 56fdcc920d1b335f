/* SPDX-License-Identifier: MIT
 *
 * How a settle is cut into steps, and what it learns from them for the next ones: it is to be done before the next fork
 * comes. By the keeper, without the lock.
 */
#include "step.h"

/* What it takes to move a table to staging and home, in page faults. */
#define TABLE_FAULTS   20
#define PATIENCE_LEAST 8u
#define PATIENCE_MOST  256u

/* How many tables there are to settle. */
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

/* No page tables come home: there is no time for them, and the program touches so little in each between two forks
 * that to map it again costs it less. */
bool pace_wants_fresh(const struct odf_region *region, const struct region_settler *settler, size_t tables,
			size_t rest)
{
	if (settler->userfault < 0 || region_fresh_always)
		return settler->userfault >= 0;
	return region->behind == REGION_BEHIND_MOST && region->round_faults < tables * TABLE_FAULTS &&
	       settler->is_hurried(rest * region->moved_table_ns);
}

/* A fork comes before the rest is done, by what is known of the last ones. */
bool pace_is_late(const struct odf_region *region, const struct region_settler *settler, size_t rest)
{
	return settler->userfault >= 0 && settler->is_hurried(rest * region->moved_table_ns);
}

/* Each page of the process's own was a page fault: where there were more, in this round or in the last one, there is
 * more. */
bool pace_may_be_last(const struct odf_region *region)
{
	return region->touched < STEP_LAST_PAGES && region->round_faults < STEP_LAST_PAGES && !region_fresh_always;
}

/* From a step that went well. What was not tried for long is taken for ever cheaper, so that it will be tried again. */
void pace_learn(struct odf_region *region, const struct step *step, uint64_t step_ns)
{
	uint64_t table_ns = step_ns / ((step->length + REGION_TABLE - 1) / REGION_TABLE);
	uint64_t *known = step->is_fresh ? &region->fresh_table_ns : &region->moved_table_ns;

	*known = *known == 0 ? table_ns : (3 * *known + (table_ns < 4 * *known ? table_ns : 4 * *known)) / 4;
	if (step->is_fresh)
		region->moved_table_ns -= region->moved_table_ns / 64;
}

/* A fork came before the end of the last settle: this one is to be done sooner. */
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

/* After some that were done in time the dearer way is tried again, and less and less often if it is too slow still. */
void pace_note_completion(struct odf_region *region)
{
	if (region->behind == 0 || ++region->in_time <= region->patience)
		return;
	region->in_time = 0;
	if (--region->behind == 0)
		region->patience = 0;
}

/* What a step works with is address space that the program sees: of one in place no more than what is not needed at
 * aside any more, after so many bytes, or a sixteenth. A step that moves no page tables works with twice as much. */
size_t pace_largest_step(const struct odf_region *region, size_t tables, size_t done, bool is_fresh)
{
	size_t least = tables / 16 > 2 ? tables / 16 : 2, most;

	if (!region->in_place)
		return REGION_PUD;
	most = done / REGION_TABLE / (is_fresh ? 2 : 1);
	return (most < least ? least : most) * REGION_TABLE;
}
