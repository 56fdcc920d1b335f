/* SPDX-License-Identifier: MIT
 *
 * Scenarios of test_region_injection: the heap's region, with holes, islands and foreign memory in it.
 */
#include "region_injection.h"

typedef int range_function(struct odf_region *, size_t, size_t);

static struct region_extent run_at(size_t page)
{
	return region_run_at(areas[BIG].region, page * PAGE, (page + 1) * PAGE);
}

/* Repeats the call until all is done. After each attempt the list must show what was done and what was not. `must_be`:
 * the kind of the pages in the end. */
static void change(range_function *function, const char *name, size_t from, size_t count, enum region_kind must_be)
{
	struct area *area = &areas[BIG];
	bool done = false;

	for (int tries = 0; !done; tries++) {
		odf_reason reason;
		uint64_t mask;
		int error;
		end_if_given_up();
		region_lock(&mask);
		if (region_has_left(area->region, &reason)) { /* the keeper has given it up since the check */
			region_unlock(&mask);
			continue;
		}
		error = function(area->region, from * PAGE, count * PAGE);
		for (size_t page = from; page < from + count; page++) {
			struct region_extent run = run_at(page);
			bool was_hole = area->hole[page];
			area->hole[page] = run.kind == REGION_HOLE;
			if (was_hole != area->hole[page]) /* zero once it is memory again */
				area->value[page] = 0;
			if (was_hole || area->hole[page])
				area->used[page] = true;
			if (error == 0 && run.kind != must_be && run.kind != REGION_FOREIGN &&
			    !(was_hole && must_be == REGION_ISLAND) &&
			    !(run.kind == REGION_ISLAND && must_be == REGION_MEMORY))
				die("%s: page %zu is of kind %d", name, page, run.kind);
		}
		region_unlock(&mask);
		compare(name);
		done = error == 0;
		if (!done && !failed_yet())
			die("%s: %s", name, strerror(error));
		if (error == EAGAIN)
			break; /* not there now */
		if (tries == 2)
			lift();
		if (tries > 2000)
			die("%s fails for ever: %s", name, strerror(error));
		if (!done)
			wait_a_moment(); /* the keeper may have to make something new */
	}
}

static void take(size_t from, size_t count)
{
	change(region_take, "take", from, count, REGION_MEMORY);
}

static void give(size_t from, size_t count)
{
	change(region_give, "give", from, count, REGION_HOLE);
}

static void cut(size_t from, size_t count)
{
	change(region_cut, "cut", from, count, REGION_ISLAND);
}

static void lose(size_t from, size_t count)
{
	struct area *area = &areas[BIG];

	for (int tries = 0;; tries++) {
		uint64_t mask;
		void *there;
		int error;
		end_if_given_up();
		region_lock(&mask);
		error = region_lose_begin(area->region, from * PAGE, count * PAGE);
		if (error != 0) {
			region_unlock(&mask);
			compare("what was not lost");
			if (!failed_yet() || tries > 2000)
				die("lose: %s", strerror(error));
			if (tries == 2)
				lift();
			wait_a_moment();
			continue;
		}
		there = (void *)real_call(SYS_mmap, (long)area->base + (long)(from * PAGE), (long)(count * PAGE),
					  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (there != area->base + from * PAGE)
			die("no memory");
		region_lose_end(area->region, from * PAGE, count * PAGE);
		for (size_t page = from; page < from + count; page++) {
			if (run_at(page).kind != REGION_FOREIGN)
				die("lost, and of kind %d", run_at(page).kind);
			area->value[page] = 0;
			area->used[page] = true;
			area->hole[page] = false;
		}
		region_unlock(&mask);
		break;
	}
	compare("after a loss");
}

/* Discards the pages of this range that are memory. */
void discard_memory(size_t from, size_t count)
{
	struct area *area = &areas[BIG];

	for (size_t page = from; page < from + count; page++)
		if (run_at(page).kind == REGION_MEMORY)
			discard(area, page, 1);
	compare("after discards");
}

void live_with_holes(void)
{
	cut(30, 10);
	give(60, 20);
	take(64, 4);
	put(&areas[BIG], 65, 103);
	lose(90, 3);
	discard_memory(300, 2);
}

static void make_bare(void)
{
	struct area *area = &areas[BIG];

	bare = true;
	for (int tries = 0; area->region == NULL; tries++) {
		int error = 0;
		control->trimming = true;
		area->region = region_make_bare(1, ODF_REGION_MANUAL, NULL, &error);
		control->trimming = false;
		if (area->region != NULL)
			break;
		atomic_fetch_add(&control->no_region, 1);
		if (error == 0 || !failed_yet() || tries > 3)
			die("no region: %s", strerror(error));
		if (tries == 1)
			lift();
	}
	area->base = odf_region_base(area->region);
	memset(area->hole, true, sizeof area->hole);
}

void with_holes(void)
{
	struct child child;

	AT("make");
	make_bare();
	take(0, MOST_PAGES);
	fill(1, true);
	AT("LIVE");
	give(10, 20);
	take(15, 5);
	put(&areas[BIG], 16, 2);
	cut(40, 10);
	put(&areas[BIG], 44, 2);
	give(42, 4);
	lose(100, 5);
	lose(18, 4); /* part of it is a hole */
	AT("first fork");
	child = snapshot(false);
	AT("FROZEN");
	fill(2, false);
	give(505, 20);
	take(510, 10);
	take(20, 5); /* was a hole before */
	put(&areas[BIG], 21, 3);
	cut(120, 9);
	cut(508, 4);
	put(&areas[BIG], 122, 3);
	lose(140, 4);
	lose(524, 4);
	give(121, 3);
	discard_memory(200, 20);
	must_not_settle();
	compare("FROZEN, changed");
	(void)end_of(child);
	AT("settle");
	settle(&areas[BIG]);
	compare("settled");
	AT("LIVE again");
	take(10, 60);
	give(600, 100);
	take(600, 60);
	fill(4, true);
	AT("libc's fork");
	child = snapshot(true);
	give(50, 10);
	fill(5, true);
	(void)end_of(child);
	AT("half a settle");
	interrupted_settle(&areas[BIG], 1);
	give(490, 40); /* may be partly LIVE */
	cut(480, 5);
	take(490, 40);
	lose(495, 3);
	put(&areas[BIG], 500, 7);
	compare("half settled");
	AT("settle of the rest");
	settle(&areas[BIG]);
	compare("settled from the middle");
	give(0, MOST_PAGES);
	child = snapshot(false);
	(void)end_of(child);
	settle(&areas[BIG]);
	take(0, MOST_PAGES);
	fill(6, false);
	compare("taken again");
}

void with_holes_and_a_keeper(void)
{
	AT("create");
	create(&areas[SMALL], ODF_REGION_MANUAL);
	with_holes();
}
