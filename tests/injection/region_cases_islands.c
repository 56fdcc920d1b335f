/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: islands of a bare region, in memory whose pages are all populated.
 */
#include "region_cases.h"

void islands_are_private(void)
{
	struct child child;
	int status;
	pid_t pid;

	make_filled();
	must(cut(10, 20) == 0 && is_all(10, 20, REGION_ISLAND));
	for (int frozen = 0; frozen < 2; frozen++) {
		must(holds_all_1());
		pid = raw_clone();
		if (pid == 0) {
			must(holds(10, 30, 1));
			fill(10, 30, 7);
			_exit(0);
		}
		status = status_of(pid);
		must(status == 0 && holds_all_1());
		child = child_with(holds_all_1);
		fill(0, pages, 2);
		must(odf_region_settle(region) == EBUSY);
		end(child);
		settle();
		must(holds(0, pages, 2));
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		must(cut(500, 30) == 0); /* while FROZEN, across a border of page tables */
	}
	settle();
	must(holds_all_1());
	fill(0, pages, 3); /* the file's pages under the islands were of other generations */
	fork_and_end(holds_all_3);
	must(holds_all_3());
	settle();
	must(holds_all_3());
}

void islands_amid_a_settle_are_inherited(void)
{
	make_filled();
	(void)settle_by_half();
	must(cut(TABLE + 100, 20) == 0);
	must(raw_child_reads(TABLE + 100) && !raw_child_reads(TABLE + 99));
	(void)settle_on();
	settle();
	must(raw_child_reads(TABLE + 100) && holds_all_1());
}

/* When a settle is complete, aside still shows what lies under them. */
void islands_given_back(void)
{
	make_filled();
	must(cut(10, 20) == 0);
	fork_and_end(holds_all_1);
	must(cut(100, 20) == 0);
	settle();
	must(give(10, 20) == 0 && give(100, 20) == 0);
	must(take(10, 20) == EAGAIN && is_all(10, 20, REGION_HOLE));
	fork_and_end(is_child);
	settle();
	must(take(10, 20) == 0 && take(100, 20) == 0);
	must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, 100, 1) && holds(100, 120, 0) && holds(120, pages, 1));
}

/* Given back while LIVE: only the second settle after that can punch the file. */
void islands_given_back_late(void)
{
	make_filled();
	(void)settle_by_half();
	must(cut(10, 20) == 0 && give(10, 20) == 0);
	(void)settle_on();
	settle();
	fork_and_end(is_child);
	settle();
	must(take(10, 20) == 0);
	must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, pages, 1));
}

/* A child, unseen by the library, made while the first page table is LIVE and the rest FROZEN: it has the island, and
 * the token. */
struct child raw_child_with_island(size_t page, size_t count)
{
	struct child child;
	int ends[2];
	char byte;

	must(pipe2(ends, O_CLOEXEC) == 0);
	child.pid = raw_clone();
	if (child.pid == 0) {
		close(ends[1]);
		must(holds(page, page + 1, 1)); /* the other pages only later: those that it has read are in its page
		                                   tables */
		(void)!read(ends[0], &byte, 1);
		must(holds(page, page + count, 1));
		_exit(0);
	}
	must(child.pid > 0);
	close(ends[0]);
	child.go = ends[1];
	return child;
}

static bool live_part_is_1(void)
{
	return holds(0, 50, 1);
}

/* The file's pages under an island are not punched while such a child lives. And even when the answer is that such a
 * child exists, the child must not see what is LIVE. */
void islands_of_raw_children(void)
{
	struct child raw, child;

	for (int lost = 0; lost < 2; lost++) {
		make_filled();
		must(cut(TABLE + 100, 20) == 0);
		(void)settle_by_half();
		raw = raw_child_with_island(TABLE + 100, 20);
		if (lost)
			(void)lose(TABLE + 100, 20);
		else
			must(give(TABLE + 100, 20) == 0);
		must(settle_on() == EAGAIN);
		must(odf_region_settle(region) == EBUSY);
		must(!raw_child_reads(0));
		child = child_with(live_part_is_1);
		fill(0, 50, 2);
		end(child);
		end(raw);
		settle();
		must(holds(0, 50, 2) && holds(50, TABLE + 100, 1) && holds(TABLE + 120, pages, 1));
	}
}
