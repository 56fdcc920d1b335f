/* SPDX-License-Identifier: MIT
 *
 * Tests of test_keeper: the keeper's schedule, which is a pure function, and its pace.
 */
#include "keeper_tests.h"

#define US 1000ull
#define AGO(ns) (NOW - (ns))
#define LITTLE  ((4u << 20) - 1) /* too little to adopt */

void schedule(void **state)
{
	static const struct {
		struct schedule_facts facts;
		enum schedule_action action;
		uint64_t then;  /* after NOW; for SCHEDULE_WAIT */
		uint64_t pause; /* for SCHEDULE_SETTLE */
	} table[] = {
		/* Nothing to do. */
		{ { .settled = true, .settles = true, .fork_ns = AGO(MS) }, SCHEDULE_WAIT, SCHEDULE_NEVER, 0 },
		{ { .settled = true, .thins = true }, SCHEDULE_WAIT, SCHEDULE_NEVER, 0 },
		/* by call only */
		{ { .fork_ns = AGO(MS), .touched = 1000, .child_ended = true }, SCHEDULE_WAIT, SCHEDULE_NEVER, 0 },
		{ { .left = true, .drained = true, .lost = true, .aside_lost = true }, SCHEDULE_WAIT, SCHEDULE_NEVER,
		  0 },
		/* Given up, or about to be. */
		{ { .left = true, .settles = true, .ask_ns = NOW }, SCHEDULE_DRAIN, 0, 0 },
		{ { .left = true, .settles = true, .ask_ns = NOW + MS }, SCHEDULE_WAIT, MS, 0 },
		{ { .lost = true, .aside_lost = true, .settles = true, .settled = true }, SCHEDULE_GIVE_UP, 0, 0 },
		{ { .aside_lost = true, .settles = true, .settled = true }, SCHEDULE_MEND, 0, 0 },
		/* Large pages, in a quiet moment. */
		{ { .settled = true, .huge = true, .fork_ns = AGO(100 * MS) }, SCHEDULE_GATHER, 0, 0 },
		{ { .settled = true, .huge = true, .fork_ns = AGO(60 * MS) }, SCHEDULE_WAIT, 40 * MS, 0 },
		/* Young memory before the first fork: when most of it has been there for a second, or longer if other
		 * threads run. */
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 48 << 20,
		  .young_ns = AGO(1000 * MS) }, SCHEDULE_ADOPT, 0, 0 },
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 48 << 20,
		  .young_ns = AGO(900 * MS), .young_look_ns = 250 * MS },
		  SCHEDULE_WAIT, 100 * MS, 0 },
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 47 << 20,
		  .young_ns = AGO(1000 * MS), .young_look_ns = 250 * MS },
		  SCHEDULE_WAIT, 250 * MS, 0 },
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 48 << 20,
		  .young_ns = AGO(1000 * MS), .young_look_ns = 250 * MS,
		    .busy = true }, SCHEDULE_WAIT, 250 * MS, 0 },
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 48 << 20,
		  .young_ns = AGO(4000 * MS), .busy = true }, SCHEDULE_ADOPT, 0, 0 },
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 48 << 20,
		  .young_ns = AGO(4000 * MS), .young_look_ns = 250 * MS,
		    .stopped = true }, SCHEDULE_WAIT, 250 * MS, 0 },
		{ { .settled = true, .settles = true, .young = (4 << 20) - 1, .young_floor = 3 << 20,
		  .young_ns = AGO(9000 * MS) }, SCHEDULE_WAIT, SCHEDULE_NEVER, 0 },
		{ { .settled = true, .settles = true, .young = 0, .young_floor = 0, .young_ns = AGO(9000 * MS),
		    .young_look_ns = 250 * MS }, SCHEDULE_WAIT, 250 * MS, 0 },
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 64 << 20,
		  .young_ns = AGO(9000 * MS), .fork_ns = AGO(5000 * MS) },
		  SCHEDULE_WAIT, SCHEDULE_NEVER, 0 },
		/* After it, what the last fork could not take in. */
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 48 << 20, .young_missed = true,
		  .young_ns = AGO(1000 * MS), .fork_ns = AGO(5000 * MS) }, SCHEDULE_ADOPT, 0, 0 },
		{ { .settled = true, .settles = true, .young = 64 << 20, .young_floor = 48 << 20, .young_missed = true,
		  .young_ns = AGO(900 * MS), .fork_ns = AGO(5000 * MS), .young_look_ns = 250 * MS },
		  SCHEDULE_WAIT, 100 * MS, 0 },
		{ { .settled = true, .thins = true, .young = 64 << 20, .young_floor = 64 << 20,
		  .young_ns = AGO(9000 * MS) }, SCHEDULE_WAIT, SCHEDULE_NEVER, 0 },
		{ { .settled = true, .settles = true, .huge = true, .young = 64 << 20, .young_floor = 64 << 20,
		  .young_ns = AGO(1000 * MS) }, SCHEDULE_ADOPT, 0, 0 },
		/* Little was touched: the next fork is cheap anyway. */
		{ { .settles = true, .fork_ns = AGO(4 * MS), .touched = 63, .child_ended = true }, SCHEDULE_WAIT, MS,
		  0 },
		{ { .settles = true, .fork_ns = AGO(100 * US), .touched = 63 }, SCHEDULE_WAIT, 500 * US, 0 },
		/* The last settles were not done before the next fork: it looks often between two forks, but no more
		 * often than is worthwhile, and more and more rarely if none comes. */
		{ { .settles = true, .fork_ns = AGO(100 * US), .touched = 63, .behind_ns = 4 * MS }, SCHEDULE_WAIT,
		  250 * US, 0 },
		{ { .settles = true, .fork_ns = AGO(100 * US), .touched = 63, .behind_ns = 800 * US }, SCHEDULE_WAIT,
		  100 * US, 0 },
		{ { .settles = true, .fork_ns = AGO(100 * US), .touched = 63, .behind_ns = 20 * MS }, SCHEDULE_WAIT,
		  500 * US, 0 },
		{ { .settles = true, .fork_ns = AGO(100 * US), .touched = 63, .behind_ns = SCHEDULE_NEVER },
		  SCHEDULE_WAIT, 500 * US, 0 },
		{ { .settles = true, .fork_ns = AGO(16 * MS), .touched = 63, .behind_ns = 800 * US }, SCHEDULE_WAIT,
		  4 * MS, 0 },
		{ { .settles = true, .fork_ns = AGO(20 * MS), .touched = 63 }, SCHEDULE_SETTLE, 0, 20 * MS / 64 },
		{ { .settles = true, .fork_ns = AGO(4 * MS), .touched = 63, .vacant = true }, SCHEDULE_SETTLE, 0,
		  4 * MS / 64 },
		/* Much was touched. */
		{ { .settles = true, .fork_ns = AGO(4 * MS), .touched = 64 }, SCHEDULE_SETTLE, 0, 4 * MS / 64 },
		{ { .settles = true, .fork_ns = AGO(4000 * MS), .touched = 64 }, SCHEDULE_SETTLE, 0, 4 * MS },
		/* All of it was only read. */
		{ { .settles = true, .fork_ns = AGO(4 * MS), .touched = 64, .only_read = true }, SCHEDULE_WAIT, MS, 0 },
		{ { .settles = true, .fork_ns = AGO(200 * MS), .touched = 64, .only_read = true }, SCHEDULE_WAIT,
		  20 * MS, 0 },
		{ { .settles = true, .fork_ns = AGO(256 * MS), .touched = 64, .only_read = true }, SCHEDULE_SETTLE, 0,
		  4 * MS },
		{ { .settles = true, .fork_ns = AGO(4 * MS), .touched = 64, .only_read = true, .vacant = true },
		  SCHEDULE_SETTLE, 0, 4 * MS / 64 },
		{ { .settles = true, .fork_ns = AGO(20 * MS), .touched = 63, .only_read = true }, SCHEDULE_SETTLE, 0,
		  20 * MS / 64 },
		/* A test for descendants was made a moment ago. */
		{ { .settles = true, .fork_ns = AGO(16 * MS), .touched = 64, .ask_ns = NOW + 5 * MS }, SCHEDULE_WAIT,
		  MS, 0 },
		{ { .settles = true, .fork_ns = AGO(160 * MS), .touched = 64, .ask_ns = NOW + 5 * MS }, SCHEDULE_WAIT,
		  5 * MS, 0 },
		{ { .settles = true, .fork_ns = AGO(1600 * MS), .touched = 64, .ask_ns = NOW + 500 * MS },
		  SCHEDULE_WAIT, 20 * MS, 0 },
		{ { .settles = true, .fork_ns = AGO(16 * MS), .touched = 64, .ask_ns = NOW + 5 * MS,
		  .child_ended = true }, SCHEDULE_SETTLE, 0, 16 * MS / 64 },
		{ { .settles = true, .fork_ns = AGO(16 * MS), .touched = 64, .ask_ns = NOW + 5 * MS, .vacant = true },
		  SCHEDULE_SETTLE, 0, 16 * MS / 64 },
		/* A process is looking at the program. */
		{ { .settles = true, .fork_ns = AGO(MS), .touched = 64, .stopped = true }, SCHEDULE_WAIT, MS, 0 },
		{ { .settles = true, .fork_ns = AGO(40 * MS), .touched = 64, .stopped = true, .vacant = true },
		  SCHEDULE_WAIT, 10 * MS, 0 },
		/* Without userfaultfd. */
		{ { .thins = true, .ask_ns = NOW + MS, .child_ended = true, .vacant = true, .touched = 1000 },
		  SCHEDULE_WAIT, MS, 0 },
		{ { .thins = true, .ask_ns = NOW }, SCHEDULE_THIN, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct schedule_facts facts = table[i].facts;
		struct schedule what;
		facts.now = NOW;
		what = schedule_region(&facts);
		if (what.action != table[i].action)
			fail_msg("row %zu: action %d and not %d", i, (int)what.action, (int)table[i].action);
		if (what.action == SCHEDULE_WAIT &&
		    what.then != (table[i].then == SCHEDULE_NEVER ? SCHEDULE_NEVER : NOW + table[i].then))
			fail_msg("row %zu: until %lld", i, (long long)(what.then - NOW));
		if (what.action == SCHEDULE_SETTLE && what.pause_most != table[i].pause)
			fail_msg("row %zu: pauses of %llu", i, (unsigned long long)what.pause_most);
	}
	assert_int_equal(schedule_after(EBUSY, NOW, AGO(8 * MS)), NOW + MS);
	assert_int_equal(schedule_after(EAGAIN, NOW, AGO(100 * US)), NOW + 200 * US);
	assert_int_equal(schedule_after(EBUSY, NOW, AGO(2000 * MS)), NOW + 1000 * MS);
	assert_int_equal(schedule_after(EBUSY, NOW, AGO(100000 * MS)), NOW + 8000 * MS);
	assert_int_equal(schedule_after(ENOMEM, NOW, AGO(MS)), NOW + 100 * MS);
	/* There are descendants: it notices the end of a child before it tests for them again. */
	assert_int_equal(schedule_again(EBUSY, NOW, AGO(2000 * MS), NOW + 1000 * MS), NOW + 20 * MS);
	assert_int_equal(schedule_again(EBUSY, NOW, AGO(51200 * MS), NOW + 8000 * MS), NOW + 100 * MS);
	assert_int_equal(schedule_again(EBUSY, NOW, AGO(900000 * MS), NOW + 8000 * MS), NOW + 1000 * MS);
	assert_int_equal(schedule_again(EBUSY, NOW, AGO(2000 * MS), NOW + 10 * MS), NOW + 10 * MS);
	assert_int_equal(schedule_again(EAGAIN, NOW, AGO(2000 * MS), NOW + 1000 * MS), NOW + 1000 * MS);
	assert_int_equal(schedule_again(ENOMEM, NOW, AGO(2000 * MS), NOW + 100 * MS), NOW + 100 * MS);
	assert_int_equal(schedule_look(NOW, AGO(40 * MS), 0), NOW + 10 * MS);
	assert_int_equal(schedule_look(NOW, AGO(1000 * MS), 0), SCHEDULE_NEVER);
	assert_int_equal(schedule_look(NOW, AGO(100 * US), 0), NOW + 500 * US);
	assert_int_equal(schedule_look(NOW, AGO(100 * US), 2 * MS), NOW + 125 * US);
	assert_int_equal(schedule_look(NOW, AGO(40 * MS), 2 * MS), NOW + 10 * MS);
	assert_int_equal(schedule_look(NOW, AGO(1000 * MS), 2 * MS), SCHEDULE_NEVER);
	assert_true(schedule_young_anew(&(struct schedule_facts){ .now = NOW, .young = 10 }));
	assert_true(schedule_young_anew(&(struct schedule_facts){ .now = NOW, .young = 10, .young_floor = 11,
								  .young_ns = AGO(MS) }));
	assert_false(schedule_young_anew(&(struct schedule_facts){ .now = NOW, .young = 10, .young_floor = 1,
								   .young_ns = AGO(999 * MS) }));
	assert_true(schedule_young_anew(&(struct schedule_facts){ .now = NOW, .young = 10, .young_floor = 1,
								  .young_ns = AGO(1000 * MS) }));
	assert_false(schedule_young_anew(&(struct schedule_facts){ .now = NOW, .young = 10, .young_floor = 9,
								   .young_ns = AGO(9000 * MS) }));
	assert_int_equal(schedule_young_look(true, LITTLE + 1, 4000 * MS), 250 * MS);
	assert_int_equal(schedule_young_look(false, LITTLE + 1, 250 * MS), 500 * MS);
	assert_int_equal(schedule_young_look(false, LITTLE + 1, 4000 * MS), 4000 * MS);
	assert_int_equal(schedule_young_look(true, LITTLE, 60000 * MS), 250 * MS);
	assert_int_equal(schedule_young_look(false, LITTLE, 4000 * MS), 8000 * MS);
	assert_int_equal(schedule_young_look(false, LITTLE, 60000 * MS), 60000 * MS);
	assert_int_equal(schedule_thin(0), 250 * MS);
	assert_int_equal(schedule_thin(250 * MS), 500 * MS);
	assert_int_equal(schedule_thin(50000 * MS), 60000 * MS);
	assert_true(schedule_thin_pays(64) && !schedule_thin_pays(63));
	assert_int_equal(schedule_drain(0, 500 * MS), 50 * US);
	assert_int_equal(schedule_drain(EBUSY, MS), 2 * MS);
}

void pace(void **state)
{
	static const uint64_t often[] = { 20 * MS, 20 * MS, 20 * MS }, after_a_rest[] = { 20 * MS, 9000 * MS, 30 * MS },
			      once[] = { SCHEDULE_NEVER, 0, 0 }, second[] = { SCHEDULE_NEVER, 20 * MS, 0 };
	static const struct {
		struct region_progress progress;
		uint64_t until_fork, pause;
	} table[] = {
		/* In proportion to the step's time, within a minimum and a maximum. */
		{ { .step_ns = 400 * US, .rest_ns = 10 * MS }, 20 * MS, 100 * US },
		{ { .step_ns = 100 * US, .rest_ns = 10 * MS }, 20 * MS, 60 * US },
		{ { .step_ns = 20 * MS, .rest_ns = 10 * MS }, 20 * MS, 4 * MS },
		/* With pauses it would not be done before the next fork, or was not. */
		{ { .step_ns = 400 * US, .rest_ns = 11 * MS }, 20 * MS, 0 },
		{ { .step_ns = 400 * US, .rest_ns = 3 * MS, .is_behind = true }, 20 * MS, 0 },
		{ { .step_ns = 400 * US, .rest_ns = 2 * MS, .is_behind = true }, 20 * MS, 100 * US },
		/* And would make threads wait too long. */
		{ { .step_ns = 400 * US, .rest_ns = 21 * MS }, 20 * MS, 60 * US },
	};

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (schedule_pause(&table[i].progress, 4 * MS, table[i].until_fork) != table[i].pause)
			fail_msg("row %zu", i);
	assert_int_equal(schedule_distance(often), 20 * MS);
	assert_int_equal(schedule_distance(after_a_rest), 30 * MS);
	assert_int_equal(schedule_distance(second), SCHEDULE_NEVER);
	assert_int_equal(schedule_until_fork(5 * MS, often), 15 * MS);
	assert_int_equal(schedule_until_fork(5 * MS, after_a_rest), 25 * MS);
	assert_int_equal(schedule_until_fork(80 * MS, often), 40 * MS); /* late */
	assert_true(schedule_until_fork(5 * MS, once) > 1000000 * MS);
	assert_true(schedule_until_fork(5 * MS, second) > 1000000 * MS);
}

/* Otherwise a settle would be put off, although a fork copies what was written, with all page tables. */
void what_was_only_read(void **state)
{
	size_t size = (size_t)8 << 20, page = 4096;
	odf_region *region = odf_region_create(size, ODF_REGION_MANUAL);
	int pagemap = region_pagemap_open();
	volatile char *memory;
	pid_t pid;

	(void)state;
	assert_non_null(region);
	assert_true(pagemap >= 0);
	memory = odf_region_base(region);
	for (int round = 0; round < 2; round++) {
		for (size_t at = 0; at < size; at += page)
			memory[at] = 1;
		assert_false(region_is_unwritten(region, pagemap)); /* LIVE */
		pid = odf_fork();
		if (pid == 0)
			_exit(0);
		assert_int_equal(wait_for(pid), 0);
		assert_true(region_is_unwritten(region, pagemap));
		for (size_t at = 0; at < size; at += page)
			assert_int_equal(memory[at], 1);
		assert_true(region_is_unwritten(region, pagemap));
		if (round == 0)
			memory[size - 1] = 2;
		else
			assert_errno(0, odf_region_discard(region, (char *)odf_region_base(region) + page, page));
		assert_false(region_is_unwritten(region, pagemap));
		assert_errno(0, odf_region_settle(region));
	}
	close(pagemap);
	assert_errno(0, odf_region_destroy(region));
}
