/* SPDX-License-Identifier: MIT
 *
 * Takes young memory into the region before the process has forked, or where a fork could not. Young memory costs
 * the running program nothing, but the first fork would copy all of its page tables. So memory that has grown old is
 * adopted beside the running program (schedule.c says when), by the same steps as those of a settle.
 *
 * This is background work: the keeper waits while another process wants the processor that a step would take. A low
 * priority would not do: threads of the program may wait for a step, and a keeper that waits for a processor in the
 * middle of one would stall them.
 *
 * By the keeper.
 */
#include <errno.h>

#include "keeper.h"

/* Other processes prolong the pause after a step to YIELD_MOST_NS at most, so that the work ends. */
#define YIELD_NS      500000u
#define YIELD_MOST_NS 2000000u

/* These facts are costly: the caller asks only if they matter. */
void keeper_look_at_young(struct odf_region *region, struct schedule_facts *facts)
{
	size_t young;

	region_lock_as_keeper();
	young = region_young_bytes(region);
	region_unlock_as_keeper();
	if (region->young_left > young)
		region->young_left = young;
	facts->young = young - region->young_left;
	facts->young_floor = region->young_floor;
	facts->young_ns = region->young_ns;
	if (schedule_young_anew(facts)) {
		facts->young_floor = region->young_floor = facts->young;
		facts->young_ns = region->young_ns = facts->now;
	}
	facts->young_look_ns = region->young_look_ns =
		schedule_young_look(young != region->young_seen, facts->young, region->young_look_ns);
	region->young_seen = young;
	facts->busy = !program_leaves_a_processor();
	facts->stopped = program_is_stopped();
}

/* Pauses for as long as the step took, and longer while others want the processor. A fork or an order ends the
 * pause. */
static void pause_for(uint64_t step_ns)
{
	for (uint64_t waited = 0; waited < step_ns || (waited < YIELD_MOST_NS && !program_leaves_a_processor());) {
		unsigned notices = atomic_load(&keeper.notices);
		uint64_t pause = step_ns > waited ? step_ns - waited : YIELD_NS;
		if (keeper_has_order() || atomic_load(&keeper.forks) != 0)
			return;
		keeper_sleep(notices, pause);
		waited += pause;
	}
}

/* One pass over the young memory. What could not be adopted is noted, and does not cause another pass. */
void keeper_adopt_young(struct odf_region *region)
{
	size_t at = 0, end = 0;
	int error = 0;

	while (error != EAGAIN && atomic_load(&keeper.forks) == 0 && !limits_are_near()) {
		uint64_t start = region_clock();
		region_lock_as_keeper();
		at = region_next_young(region, at, &end);
		region_unlock_as_keeper();
		if (at >= region->capacity)
			break;
		error = region_adopt_step(region, &keeper_settler, at, end, &at);
		keeper_between_steps(&(struct region_progress){ .step_ns = 0 });
		pause_for(region_clock() - start);
	}
	region_lock_as_keeper();
	region->young_left = at < region->capacity ? 0 : region_young_bytes(region);
	region->young_missed = region->young_missed && at < region->capacity;
	region_unlock_as_keeper();
	region->young_ns = 0;
}
