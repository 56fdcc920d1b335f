/* SPDX-License-Identifier: MIT
 *
 * Scenarios of test_region_injection: snapshots that settle by a call, and snapshots that settle by themselves beside a
 * thread.
 */
#include "region_injection.h"

#define TOUCHED      (TABLE / PAGE + 100)
#define TOUCHED_WORD 64

void by_call(void)
{
	struct child child, younger;

	AT("create");
	create(&areas[SMALL], ODF_REGION_MANUAL);
	create(&areas[BIG], ODF_REGION_MANUAL);
	AT("fill");
	fill(1, false);
	compare("LIVE");
	AT("discard while LIVE");
	discard(&areas[BIG], 40, 9);
	discard(&areas[SMALL], 2, 1);
	put(&areas[BIG], 41, 7);
	compare("LIVE");
	AT("first fork");
	child = snapshot(false);
	AT("FROZEN");
	compare("FROZEN");
	fill(2, false);
	discard(&areas[BIG], 60, 30);
	put(&areas[BIG], 70, 8);
	discard(&areas[BIG], 200, 3);
	discard(&areas[BIG], 500, 30); /* across the end of a page table */
	discard(&areas[BIG], MOST_PAGES - 17, 17);
	discard(&areas[SMALL], 3, 2);
	compare("FROZEN, written");
	AT("settle under descendants");
	must_not_settle();
	(void)info_of(&areas[BIG]);
	compare("FROZEN, asked");
	discard(&areas[BIG], 61, 9); /* zeros over zeros */
	younger = snapshot(false); /* in the same freeze, after the test for descendants */
	must_not_settle();
	(void)end_of(child);
	must_not_settle();
	fill(6, false);
	(void)end_of(younger);
	AT("first settle");
	settle(&areas[BIG]);
	compare("settled");
	settle(&areas[SMALL]);
	compare("settled");
	discard(&areas[BIG], 100, 9);
	put(&areas[BIG], 101, 9);
	AT("libc's fork");
	child = snapshot(true);
	fill(3, true);
	discard(&areas[BIG], 550, 20);
	(void)end_of(child);
	compare("after libc's fork");
	AT("interrupted settle");
	interrupted_settle(&areas[BIG], 1);
	AT("settle of the rest");
	settle(&areas[BIG]);
	compare("settled from the middle");
	AT("fork over the seam"); /* the LIVE part does not begin at home's start now */
	fill(4, false);
	child = snapshot(false);
	fill(5, true);
	(void)end_of(child);
	interrupted_settle(&areas[BIG], 2);
	compare("after a second interrupted settle");
	AT("end");
	settle(&areas[SMALL]);
	settle(&areas[BIG]);
	compare("settled");
}

/* ---- Scenario 1: the keeper settles by itself, beside a thread that runs all the time ---------------------------- */

static atomic_bool stop_touching;

static void *touch(void *unused)
{
	static uint64_t expected[TOUCHED];

	(void)unused;
	ours = true;
	for (uint64_t round = 1; !atomic_load(&stop_touching); round++)
		for (size_t page = 0; page < TOUCHED; page += 1 + round % 7) {
			volatile uint64_t *word = word_at(&areas[BIG], page, TOUCHED_WORD);
			if (*word != expected[page])
				die("the thread beside lost what it wrote to page %zu: %llu, not %llu", page,
				    (unsigned long long)*word, (unsigned long long)expected[page]);
			if (page % 3 != 0)
				*word = expected[page] = round << 32 | page;
			if (round % 8 == 0 && page % 64 == 0)
				sched_yield(); /* there may be only one processor */
		}
	return NULL;
}

static void become_live(struct area *area)
{
	uint64_t deadline = now_ms() + PATIENCE_MS;

	while (info_of(area).state != ODF_REGION_LIVE) {
		if (info_of(area).settling != ODF_REGION_SETTLES_ALWAYS)
			return; /* it must not be settled beside the thread either */
		if (failed_yet())
			lift();
		if (failed_yet() && odf_region_settle(area->region) == 0) /* before the keeper tries again */
			return;
		if (now_ms() > deadline)
			die("does not settle by itself");
		wait_a_moment();
	}
}

void by_itself(void)
{
	struct child child;
	pthread_t thread;

	AT("create");
	create(&areas[SMALL], 0);
	create(&areas[BIG], 0);
	fill(1, true);
	atomic_store(&stop_touching, false);
	if (pthread_create(&thread, NULL, touch, NULL) != 0)
		die("no thread");
	for (int round = 0; round < 3; round++) {
		AT("fork");
		child = snapshot(round == 1);
		AT("FROZEN");
		fill((uint64_t)round + 2, round == 1);
		discard(&areas[BIG], TOUCHED + 10, 50);
		put(&areas[BIG], TOUCHED + 11, 9);
		compare("FROZEN");
		(void)end_of(child);
		AT("settle");
		if (round < 2)
			become_live(&areas[BIG]);
		discard(&areas[BIG], TOUCHED + 200, 50);
		compare("LIVE");
	}
	AT("end");
	become_live(&areas[BIG]);
	atomic_store(&stop_touching, true);
	pthread_join(thread, NULL);
	compare("after the thread");
	settle(&areas[BIG]);
	settle(&areas[SMALL]);
}
