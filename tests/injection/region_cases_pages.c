/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: which pages a step moves into the file and which out of it: swapped pages, pages of zeros,
 * discards (invariant 6).
 */
#include "region_cases.h"

#define SCAN_SWAPPED  (1ull << 4)
#define ENTRY_FILE    (1ull << 61)

/* ---- Private pages ----------------------------------------------------------------------------------------------- */

/* As if all private pages were swapped out. */
static bool says_swapped(const struct call *call, long *result)
{
	uint64_t *entries = (uint64_t *)(uintptr_t)call->b;

	if (call->number == SYS_ioctl && call->b == (long)SCAN) {
		*result = -ENOTTY;
		return true;
	}
	if (call->number != SYS_pread64)
		return false;
	*result = real_call(call->number, call->a, call->b, call->c, call->d, 0, 0);
	for (long i = 0; i < *result / (long)sizeof *entries; i++)
		if ((entries[i] & ENTRY_PRESENT) && !(entries[i] & ENTRY_FILE))
			entries[i] = (entries[i] & ~ENTRY_PRESENT) | ENTRY_SWAPPED;
	return true;
}

void swapped_pages_count(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	hook = says_swapped;
	settle();
	hook = NULL;
	must(holds_all_1());
}

/* Without swap the effect cannot be seen, so this checks the request. */
static bool sees_question(const struct call *call, long *result)
{
	const uint64_t *scan = (const uint64_t *)(uintptr_t)call->c;

	(void)result;
	if (call->number == SYS_ioctl && call->b == (long)SCAN)
		must(scan[10] /* category_anyof_mask */ & SCAN_SWAPPED);
	return false;
}

void swapped_pages_are_asked_for(void)
{
	make(5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	hook = sees_question;
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle();
	must(holds_all_1());
}

bool fails_to_remove(const struct call *call, long *result)
{
	if (call->number != SYS_madvise || call->c != MADV_REMOVE)
		return false;
	*result = -EOPNOTSUPP;
	return true;
}

/* The program fills a page with zeros that has other contents in the file. */
void pages_of_zeros(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	for (int failing = 0; failing < 2; failing++) {
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		for (size_t page = 20; page < 60; page++)
			memset(home + page * PAGE, 0, PAGE);
		hook = failing ? fails_to_remove : NULL;
		settle();
		hook = NULL;
		must(holds(0, 20, 1) && holds(20, 60, 0) && holds(60, pages, 1));
	}
}

/* ---- Discards ---------------------------------------------------------------------------------------------------- */

static void discard(size_t page, size_t count)
{
	must(odf_region_discard(region, home + page * PAGE, count * PAGE) == 0);
	must(holds(page, page + count, 0));
}

void discard_while_live(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	discard(10, 20);
	discard(pages - 1, 1);
	must(holds(0, 10, 1) && holds(30, pages - 1, 1));
}

void discard_while_frozen(void)
{
	struct child child;

	make(2 * TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	child = child_with(holds_all_1);
	discard(10, 20);
	discard(50, 2);
	fill(100, 120, 2);
	discard(90, 20);
	discard(2 * TABLE - 10, 15);
	end(child);
	for (int settled = 0; settled < 2; settled++) {
		must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, 50, 1) && holds(50, 52, 0) && holds(52, 90, 1));
		must(holds(90, 110, 0) && holds(110, 120, 2) && holds(120, 2 * TABLE - 10, 1) &&
		     holds(2 * TABLE - 10, pages, 0));
		settle();
	}
}

/* No thread reads the zeros before the settle: a read alone would make pages of them, which would be merged. */
void discards_are_punched(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	for (int failing = 0; failing < 2; failing++) {
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		must(odf_region_discard(region, home + 10 * PAGE, 40 * PAGE) == 0);
		must(odf_region_discard(region, home + 100 * PAGE, 100 * PAGE) == 0); /* mapped, and recorded */
		hook = failing ? fails_to_remove : NULL;
		settle();
		hook = NULL;
		must(holds(0, 10, 1) && holds(10, 50, 0) && holds(50, 100, 1));
		must(holds(100, 200, 0) && holds(200, pages, 1));
	}
}

/* A write after a discard must win over the discard. */
void written_after_a_discard(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	discard(10, 40);
	fill(20, 30, 2);
	settle();
	must(holds(0, 10, 1) && holds(10, 20, 0) && holds(20, 30, 2) && holds(30, 50, 0) && holds(50, pages, 1));
}

/* A discard is done once, and not again at the next settle. */
void discard_is_forgotten(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	discard(10, 40);
	settle();
	fill(10, 50, 1);
	fork_and_end(holds_all_1);
	discard(100, 20);
	settle();
	must(holds(0, 100, 1) && holds(100, 120, 0) && holds(120, pages, 1));
}
