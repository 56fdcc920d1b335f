/* SPDX-License-Identifier: MIT
 * The keeper's main loop: it looks after the regions, sleeps, ends (keeper.h). The first part is called by the program,
 * the rest by the keeper. */
#include <errno.h>
#include <linux/futex.h>

#include "keeper.h"

#define PAUSE_LEAST_NS 50000u
#define IDLE_CHILD_NS  2000000000u

struct keeper_shared keeper;

struct region_settler keeper_settler = { -1, -1, NULL, keeper_between_steps, keeper_is_hurried, program_is_stopped };
uint64_t keeper_pause_most_ns;

/* Of the keeper: reset by who forgets it. */
static struct seen {
	unsigned forks;
	uint64_t fork_ns; /* when it saw the last one */
	uint64_t distances[SCHEDULE_DISTANCES]; /* between the last ones */
	unsigned distance;
	uint64_t idle_fork_ns; /* the last one by a thread that is SCHED_IDLE */
} seen;

/* ---- For the program ---- */

static void wake_keeper(void)
{
	(void)sys_call3(SYS_futex, &keeper.notices, FUTEX_WAKE_PRIVATE, 1);
}

void region_keeper_notify(void)
{
	if (!atomic_load_explicit(&keeper.settles, memory_order_relaxed))
		return;
	atomic_fetch_add_explicit(&keeper.forks, 1, memory_order_relaxed);
	atomic_fetch_add(&keeper.notices, 1);
	if (atomic_load(&keeper.asleep))
		wake_keeper();
}

void region_keeper_call(void)
{
	atomic_fetch_add(&keeper.notices, 1);
	wake_keeper();
}

void region_keeper_child(int id)
{
	static atomic_uint next;

	if (atomic_load_explicit(&keeper.settles, memory_order_relaxed))
		atomic_store_explicit(&keeper_children[atomic_fetch_add(&next, 1) % KEEPER_CHILDREN], id,
				      memory_order_relaxed);
}

void region_keeper_forget(void)
{
	atomic_store(&keeper.running, false);
	atomic_store(&keeper.id, 0);
	atomic_store(&keeper.asleep, false);
	atomic_store(&keeper.settles, false);
	atomic_store(&keeper.leaves, false);
	atomic_store(&keeper.idle, false);
	atomic_store(&keeper.unattended, false);
	for (size_t i = 0; i < KEEPER_CHILDREN; i++)
		atomic_store_explicit(&keeper_children[i], 0, memory_order_relaxed);
	keeper_forget_orders();
	keeper_try_forget();
	keeper_settler.pagemap = keeper_settler.userfault = -1;
	keeper_settler.desk = NULL; /* children do not inherit it, and may have something else there */
	region_maps_forget();
	region_files_forget();
	region_hold_forget();
	seen = (struct seen){ 0 };
	keeper_forget_main();
}

odf_region_settling region_keeper_settling(void)
{
	return atomic_load(&keeper.settling);
}

bool region_keeper_runs(void)
{
	return atomic_load_explicit(&keeper.running, memory_order_relaxed);
}

int region_keeper_process(void)
{
	return region_keeper_runs() ? atomic_load_explicit(&keeper.id, memory_order_relaxed) : 0;
}

bool region_keeper_is_idle(void)
{
	return atomic_load_explicit(&keeper.idle, memory_order_relaxed) &&
	       !atomic_load_explicit(&keeper.unattended, memory_order_relaxed);
}

void region_keeper_leave_alone(void)
{
	atomic_store(&keeper.unattended, true);
	region_keeper_call();
}

bool region_keeper_died(void)
{
	return region_keeper_runs() && atomic_load(&keeper.id) == 0;
}

/* ---- The keeper ---- */

void keeper_end(void)
{
	confine_long_turns();
	for (;;)
		(void)sys_call1(SYS_exit_group, 0);
}

void keeper_note_whether_it_settles(void)
{
	bool settles = false;

	/* Without pagemap it is given up. */
	for (const struct odf_region *region = region_list; region != NULL; region = region->next)
		settles = settles || keeper_settles_here(region) || keeper_thins_here(region) ||
			  keeper_settler.pagemap < 0;
	atomic_store(&keeper.settles, settles);
}

static void end_if_it_is_time(void)
{
	if (atomic_load(&keeper.leaves) || program_is_gone())
		keeper_end();
}

/* `forks` more have been seen. */
static void note_forks(unsigned forks, uint64_t now)
{
	uint64_t distance = seen.fork_ns == 0 ? SCHEDULE_NEVER : (now - seen.fork_ns) / forks;

	for (unsigned i = 0; i < forks && i < SCHEDULE_DISTANCES; i++)
		seen.distances[seen.distance++ % SCHEDULE_DISTANCES] = distance;
	seen.fork_ns = now;
}

static uint64_t until_fork(void)
{
	return schedule_until_fork(region_clock() - seen.fork_ns, seen.distances);
}

/* For a region whose settles were late: the time between forks. */
static uint64_t behind_ns(const struct odf_region *region)
{
	return region->behind > 0 && keeper_settles_here(region) ? schedule_distance(seen.distances) : 0;
}

bool keeper_is_hurried(uint64_t rest_ns)
{
	return keeper_pause_most_ns > 0 && rest_ns > until_fork();
}

/* The end of each child is worth a wake-up only while the next fork is near. */
#define ENDS_WANTED_PART 4u

static bool wants_ends(const struct odf_region *region, uint64_t now)
{
	uint64_t distance = behind_ns(region);

	return distance != 0 && distance != SCHEDULE_NEVER && (now - seen.fork_ns) / ENDS_WANTED_PART < distance;
}

/* An order ends the pause. */
void keeper_between_steps(const struct region_progress *progress)
{
	unsigned notices = keeper_count_notices();
	uint64_t pause = keeper_pause_most_ns > 0 ? schedule_pause(progress, keeper_pause_most_ns, until_fork()) : 0;

	end_if_it_is_time();
	keeper_answer_at_once();
	if (pause >= PAUSE_LEAST_NS && !keeper_has_order())
		keeper_sleep(notices, pause);
	/* Last, so that it holds for the next step. */
	for (uint64_t wait = SCHEDULE_STOPPED_NS; program_is_stopped();
	     wait = wait < SCHEDULE_FAST_ASLEEP_NS / 2 ? 2 * wait : SCHEDULE_FAST_ASLEEP_NS) {
		notices = keeper_count_notices();
		end_if_it_is_time();
		keeper_answer_at_once();
		keeper_sleep(notices, wait);
	}
}

/* A region that is settled by a fork, or never. It is looked at more and more rarely: the memory that it holds twice
 * grows only by what the program writes. */
static uint64_t thin(struct odf_region *region)
{
	uint64_t faults = program_faults();
	int error = EAGAIN;

	region->thin_wait_ns = schedule_thin(region->thin_wait_ns);
	if (schedule_thin_pays(faults - region->seen_faults) || region_thin_pays(region))
		error = region_thin(region, &keeper_settler);
	if (error == EBUSY)
		region_drop_older(region, &keeper_settler, faults);
	else if (error == 0)
		region->seen_faults = faults;
	return region->ask_ns = region_clock() + region->thin_wait_ns;
}

static uint64_t settle(struct odf_region *region, const struct schedule_facts *facts, uint64_t pause_most)
{
	uint64_t now;
	int error;

	region->ends_asked_for = region->ends_seen;
	region->touched = facts->touched;
	keeper_pause_most_ns = pause_most;
	error = region_settle(region, &keeper_settler);
	keeper_pause_most_ns = 0;
	if (error == EBUSY)
		region_drop_older(region, &keeper_settler, program_faults());
	region->failures = error == 0 || error == EBUSY || error == EAGAIN ? 0 : region->failures + 1;
	if (error == 0)
		return SCHEDULE_NEVER;
	now = region_clock();
	region->ask_ns = schedule_after(error, now, seen.fork_ns);
	return schedule_again(error, now, seen.fork_ns, region->ask_ns);
}

static uint64_t give_up(struct odf_region *region, uint64_t now)
{
	odf_reason reason;
	int error;

	region_lock_as_keeper();
	reason = region->left_reason != ODF_REASON_NONE ? region->left_reason
		 : limits_are_near()                    ? ODF_REASON_HEAP_LIMIT
							: ODF_REASON_HEAP_NO_SETTLING;
	error = region_give_up(region, reason);
	region_unlock_as_keeper();
	return now + (error == 0 ? 0 : SCHEDULE_RETRY_NS);
}

/* It was given up: its file is emptied once no process needs it. */
static uint64_t drain(struct odf_region *region)
{
	int error;

	if (limits_are_near()) /* its memory is there twice then */
		return region->ask_ns = SCHEDULE_NEVER;
	region_lock_as_keeper();
	error = region_drain(region, 1);
	region_unlock_as_keeper();
	region->thin_wait_ns = schedule_drain(error, region->thin_wait_ns);
	return region->ask_ns = region_clock() + region->thin_wait_ns;
}

void keeper_note_idle_fork(void)
{
	seen.idle_fork_ns = region_clock();
}

/* A SCHED_IDLE child that is freeing its memory and waits for a processor holds locks of the file and of pages: a call
 * that changes mappings then waits for it with the mmap lock held. That its token is gone does not mean that it has
 * finished. */
static bool idle_child_may_end(uint64_t now)
{
	return seen.idle_fork_ns != 0 && now - seen.idle_fork_ns < IDLE_CHILD_NS && program_has_children();
}

/* Facts that are costly to find out are looked up only if they matter. */
static void find_facts(struct odf_region *region, struct schedule_facts *facts)
{
	uint64_t epoch;

	facts->ask_ns = region->ask_ns;
	facts->left = region->left;
	facts->drained = region_is_drained(region);
	if (facts->left)
		return;
	region_lock_as_keeper();
	facts->lost = region->doubt || region->left_reason != ODF_REASON_NONE ||
		      region->failures > SCHEDULE_FAILURES_MOST || (keeper_settler.pagemap < 0 && region->visible) ||
		      limits_are_near();
	facts->settled = region->live_length == region->length;
	facts->aside_lost = region->aside_lost;
	facts->vacant = region->vacant;
	facts->young_missed = region->young_missed;
	epoch = region->epoch;
	region_unlock_as_keeper();
	facts->huge = region->flags & ODF_REGION_HUGE;
	facts->settles = keeper_settles_here(region);
	facts->thins = keeper_thins_here(region);
	if (facts->settled && schedule_takes_young(facts) && region_is_in_place(region))
		keeper_look_at_young(region, facts);
	if (facts->lost || facts->settled || (!facts->settles && !facts->thins))
		return;
	if (region->seen_forks != seen.forks) {
		region->seen_forks = seen.forks;
		region->ask_ns = facts->thins ? facts->now + schedule_thin(0) : seen.fork_ns + SCHEDULE_ASK_FIRST_NS;
		region->thin_wait_ns = schedule_thin(0);
		region->ends_asked_for = region->ends_seen;
		if (facts->thins)
			region->seen_faults = 0;
	}
	if (facts->thins) {
		region->ends_seen = program_ended_children() + region_ends_seen();
		if (region_thin_is_wanted(region, region->ends_seen != region->ends_asked_for)) {
			region->ends_asked_for = region->ends_seen;
			region->thin_wait_ns = schedule_thin(0);
			if (region->ask_ns > facts->now + SCHEDULE_RELEASED_NS)
				region->ask_ns = facts->now + SCHEDULE_RELEASED_NS;
		}
	}
	facts->ask_ns = region->ask_ns;
	if (facts->thins)
		return;
	if (epoch != region->seen_epoch) {
		uint64_t faults = program_faults();
		region->seen_epoch = epoch;
		region->round_faults = faults - region->seen_faults;
		region->seen_faults = faults;
		region->touched_read = 0;
		region->read_look_ns = 0;
	}
	/* The next fork copies all page tables of memory that is being adopted. */
	facts->touched = region->adopting ? UINT64_MAX : program_faults() - region->seen_faults;
	facts->behind_ns = behind_ns(region);
	region->ends_seen = program_ended_children() + region_ends_seen();
	facts->stopped = program_is_stopped() || idle_child_may_end(facts->now);
	facts->child_ended = region->ends_seen != region->ends_asked_for;
}

/* A look at all page tables takes a millisecond per GiB, so it may take only a part of the time. Each first write is a
 * page fault: without faults a new look shows nothing new. */
#define READ_LOOK_PART 32u

static bool is_only_read(struct odf_region *region, const struct schedule_facts *facts)
{
	if (facts->vacant || region->touched_read == UINT64_MAX || facts->touched == UINT64_MAX)
		return false;
	if (facts->touched == region->touched_read || facts->now < region->read_look_ns)
		return true;
	region->touched_read = region_is_unwritten(region, keeper_settler.pagemap) ? facts->touched : UINT64_MAX;
	region->read_look_ns = region_clock() + READ_LOOK_PART * (region_clock() - facts->now);
	return region->touched_read != UINT64_MAX;
}

/* When to look at the region again. */
static uint64_t look_after(struct odf_region *region, uint64_t now)
{
	struct schedule_facts facts = { .now = now, .fork_ns = seen.fork_ns };
	struct schedule what;
	int error;

	find_facts(region, &facts);
	what = schedule_region(&facts);
	if (what.action == SCHEDULE_SETTLE && is_only_read(region, &facts)) {
		facts.only_read = true;
		what = schedule_region(&facts);
	}
	switch (what.action) {
	case SCHEDULE_GIVE_UP:
		return give_up(region, now);
	case SCHEDULE_DRAIN:
		return drain(region);
	case SCHEDULE_MEND:
		region_lock_as_keeper();
		error = region->aside_lost ? region_aside_make(region) : 0;
		region_unlock_as_keeper();
		return now + (error == 0 ? 0 : SCHEDULE_RETRY_NS);
	case SCHEDULE_GATHER:
		return region_gather(region, now);
	case SCHEDULE_THIN:
		return thin(region);
	case SCHEDULE_SETTLE:
		return settle(region, &facts, what.pause_most);
	case SCHEDULE_ADOPT:
		keeper_adopt_young(region);
		return now;
	case SCHEDULE_WAIT:
		break;
	}
	return what.then;
}

/* No work will ever come. The keeper does not end by itself, as no process would wait for it: the program's next fork
 * ends it. */
static void note_whether_idle(void)
{
	bool idle = true;

	for (const struct odf_region *region = region_list; region != NULL; region = region->next)
		idle = idle && region_is_drained(region);
	atomic_store(&keeper.idle, idle);
}

static void sleep_until(uint64_t then, unsigned notices)
{
	uint64_t now = region_clock(), wait = then > now ? then - now : 0;

	if (wait == 0)
		return;
	if (wait > SCHEDULE_FAST_ASLEEP_NS)
		atomic_store(&keeper.asleep, true);
	keeper_sleep(notices, wait);
	atomic_store(&keeper.asleep, false);
}

int keeper_run(void)
{
	for (;;) {
		unsigned notices = keeper_count_notices();
		uint64_t now = region_clock(), then = SCHEDULE_NEVER, behind = 0;
		bool ends = false;
		unsigned forks = atomic_load(&keeper.forks);
		if (atomic_load(&keeper.leaves) || program_is_gone())
			return 0;
		if (forks != seen.forks)
			note_forks(forks - seen.forks, now);
		seen.forks = forks;
		keeper_carry_out_order();
		for (struct odf_region *region = region_list; region != NULL && !keeper_has_order();
		     region = region->next) {
			uint64_t next = look_after(region, now);
			then = next < then ? next : then;
			behind = behind != 0 ? behind : behind_ns(region);
			ends = ends || wants_ends(region, now);
		}
		region_ends_want(ends);
		note_whether_idle();
		if (atomic_load(&keeper.idle) && atomic_load(&keeper.unattended))
			return 0;
		if (then == SCHEDULE_NEVER)
			then = schedule_look(now, seen.fork_ns, behind);
		if (!keeper_has_order())
			sleep_until(then, notices);
	}
}
