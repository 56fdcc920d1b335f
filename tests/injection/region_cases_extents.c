/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: holes of a bare region, and places in it where the program has mapped something.
 */
#include "../model/list_model.h"
#include "region_cases.h"

/* The heap's kind of region, of whole pages. It settles only by a call. */
void make_bare(void)
{
	int error;

	region = region_make_bare(1, ODF_REGION_MANUAL, NULL, &error);
	must(region != NULL);
	home = odf_region_base(region);
	pages = 3 * TABLE;
}

int apply(range_function *function, size_t page, size_t count)
{
	uint64_t mask;
	int error;

	region_lock(&mask);
	error = function(region, page * PAGE, count * PAGE);
	region_unlock(&mask);
	return error;
}

int take(size_t page, size_t count)
{
	return apply(region_take, page, count);
}

int give(size_t page, size_t count)
{
	return apply(region_give, page, count);
}

int cut(size_t page, size_t count)
{
	return apply(region_cut, page, count);
}

void *lose(size_t page, size_t count)
{
	uint64_t mask;
	void *there;

	region_lock(&mask);
	must(region_lose_begin(region, page * PAGE, count * PAGE) == 0);
	there = mmap(home + page * PAGE, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		     -1, 0);
	must(there != MAP_FAILED);
	region_lose_end(region, page * PAGE, count * PAGE);
	region_unlock(&mask);
	return there;
}

/* Whether all these pages are of that kind. */
bool is_all(size_t page, size_t count, enum region_kind kind)
{
	struct region_extent run;
	uint64_t mask;

	region_lock(&mask);
	run = region_run_at(region, page * PAGE, (page + count) * PAGE);
	region_unlock(&mask);
	return run.kind == kind && run.length == count * PAGE;
}

/* Asks the kernel, which returns an error instead of a signal. */
bool can_be_read(size_t page)
{
	int ends[2];
	ssize_t result;

	must(pipe2(ends, O_CLOEXEC) == 0);
	result = write(ends[1], home + page * PAGE, 1);
	close(ends[0]);
	close(ends[1]);
	return result == 1;
}

/* All pages are memory of generation 1, the region is LIVE and has a keeper. */
void make_filled(void)
{
	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	settle();
}

/* Settles in part: the pages of the first step, a page table at most, are LIVE; the rest is FROZEN and hidden, and no
 * descendant is left. Returns the page where the rest begins. */
size_t settle_by_half(void)
{
	size_t border;

	fork_and_end(holds_all_1);
	fill(0, pages, 1);
	settle_until(BETWEEN_STEPS, 2);
	border = (region->live_from + region->live_length) % region->length / PAGE;
	must(border >= 10 && border <= TABLE);
	return border;
}

static bool is_without_large_pages(const void *address)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool here = false, without = false;
	char line[512];

	must(smaps != NULL);
	while (fgets(line, sizeof line, smaps) != NULL) {
		unsigned long start, end;
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)address && (uintptr_t)address < end;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			without = strstr(line, " nh") != NULL;
	}
	fclose(smaps);
	return without;
}

/* The library's own data about a region is sparse: with large pages by default each word would take one. */
void own_memory_has_no_large_pages(void)
{
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0)
		cannot_be_done_here("a kernel without large pages");
	make_bare();
	must(is_without_large_pages(region));
	must(is_without_large_pages(region->extents));
	must(is_without_large_pages(region->discarded));
}

/* As on a machine where ordinary memory gets large pages by default. */
static bool large_pages_unasked(const struct call *call, long *result)
{
	static const char setting[] = "/sys/kernel/mm/transparent_hugepage/enabled",
			  unasked[] = "[always] madvise never\n";
	static bool is_open;

	if (call->number == SYS_openat && strcmp((const char *)call->b, setting) == 0)
		is_open = true;
	if (call->number != SYS_read || !is_open)
		return false;
	is_open = false;
	memcpy((char *)call->b, unasked, sizeof unasked);
	*result = sizeof unasked - 1;
	return true;
}

/* Only memory without an owner may go with its neighbour's large page. Sealed memory stays a view of the file for
 * good. */
void sealed_beside_a_large_page(void)
{
	hook = large_pages_unasked;
	make_bare();
	hook = NULL;
	if (!region_files_are_large())
		exit(77); /* without such a file system there are no such files */
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	settle();
	must(apply(region_leave_sealed, 0, 16) == 0 && give(16, 16) == 0);
	must(holds(0, 16, 1) && holds(32, pages, 1));
}

/* Between the keeper's search and its merge, by a call that the library does not see. */
static bool unmaps_what_is_merged(const struct call *call, long *result)
{
	static bool done;

	if (done || !merges(call->number, call->b, call->c))
		return false;
	done = true;
	*result = real_call(call->number, call->a, call->b, call->c, call->d, call->e, call->f);
	(void)real_call(SYS_munmap, (long)(home + 10 * PAGE), (long)(5 * PAGE), 0, 0, 0, 0);
	return true;
}

void unmapped_amid_a_merge(void)
{
	int error = EAGAIN;

	make_filled();
	fork_and_end(holds_all_1);
	fill(0, pages, 1);
	hook = unmaps_what_is_merged;
	for (int tries = 0; tries < 60000 && error != 0; tries++) {
		error = odf_region_settle(region);
		must(error == 0 || error == EAGAIN || error == EBUSY);
		wait_ms(1);
	}
	hook = NULL;
	must(error == 0 && !can_be_read(10) && !can_be_read(14) && holds(0, 10, 1) && holds(15, pages, 1));
	fill(15, pages, 2);
	fork_and_end(is_child);
	must(holds(0, 10, 1) && holds(15, pages, 2));
}

bool holds_all_3(void)
{
	return holds(0, pages, 3);
}

void bare_region_is_hidden(void)
{
	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	must(!raw_child_reads(0) && !raw_child_reads(pages - 1));
	fork_and_end(holds_all_1);
	settle();
	must(give(20, 5) == 0 && take(22, 2) == 0);
	must(!raw_child_reads(0) && !raw_child_reads(22));
}

void holes_fault(void)
{
	make_filled();
	must(give(10, 20) == 0 && is_all(10, 20, REGION_HOLE));
	must(!can_be_read(10) && !can_be_read(29) && can_be_read(9) && can_be_read(30));
	must(take(10, 20) == 0);
	fill(10, 30, 1);
	fork_and_end(holds_all_1);
	must(give(10, 20) == 0 && is_all(10, 20, REGION_HOLE));
	must(!can_be_read(10) && !can_be_read(29) && can_be_read(9) && can_be_read(30));
	settle();
	must(!can_be_read(10) && !can_be_read(29) && can_be_read(9) && can_be_read(30));
	must(!raw_child_reads(10));
}

/* No thread reads it before the settle: a read alone would make pages of zeros, which would be merged. */
void memory_taken_again_is_zero(void)
{
	struct child child;

	make_filled();
	for (int failing = 0; failing < 2; failing++) {
		hook = failing ? fails_to_remove : NULL;
		must(give(10, 20) == 0);
		must(take(10, 20) == (failing ? EAGAIN : 0));
		hook = NULL;
		if (failing) { /* the next settle does it then */
			fork_and_end(is_child);
			settle();
			must(take(10, 20) == 0);
		}
		must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, pages, 1));
		fill(10, 30, 1);
	}
	child = child_with(holds_all_1);
	must(give(10, 20) == 0 && take(10, 20) == 0 && give(40, 20) == 0);
	must(take(40, 20) == 0 && holds(40, 60, 0));
	fill(41, 43, 2);
	end(child);
	settle();
	must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, 40, 1) && holds(40, 41, 0) && holds(41, 43, 2) &&
	     holds(43, 60, 0));
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	must(give(10, 20) == 0);
	settle();
	must(take(10, 20) == 0);
	must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, pages, 1));
	fill(0, pages, 3); /* the file's pages there were of generation 1 */
	fork_and_end(holds_all_3);
	settle();
	must(holds_all_3());
}

/* A page that was a hole at the freeze has nothing at aside. */
void holes_taken_while_frozen(void)
{
	make_filled();
	must(give(100, 50) == 0);
	fork_and_end(is_child);
	must(take(100, 50) == 0 && holds(100, 150, 0));
	fill(100, 120, 1);
	settle();
	must(holds(0, 120, 1) && holds(120, 150, 0) && holds(150, pages, 1));
	fill(120, 150, 1);
	fork_and_end(holds_all_1);
	settle();
	must(holds_all_1() && is_all(0, pages, REGION_MEMORY));
}

void taken_amid_a_settle_is_hidden(void)
{
	make_filled();
	(void)settle_by_half();
	must(give(TABLE + 100, 20) == 0 && take(TABLE + 100, 20) == 0);
	must(!raw_child_reads(TABLE + 100));
	(void)settle_on();
	settle();
	must(!raw_child_reads(TABLE + 100) && holds(TABLE + 100, TABLE + 120, 0));
}

/* One call on a range that is partly LIVE and partly FROZEN. */
void over_the_end_of_what_is_live(void)
{
	size_t border;

	make_filled();
	border = settle_by_half();
	must(give(border - 10, 20) == 0);
	must(!can_be_read(border - 1) && !can_be_read(border));
	(void)settle_on();
	settle();
	must(take(border - 10, 20) == 0 && holds(border - 10, border + 10, 0));
	fill(0, pages, 3);
	fork_and_end(holds_all_3);
	must(holds_all_3() && is_all(0, pages, REGION_MEMORY));
	fill(0, pages, 1);
	border = settle_by_half();
	must(cut(border - 10, 20) == 0 && holds_all_1());
	fill(border - 10, border + 10, 1);
	(void)settle_on();
	settle();
	must(holds_all_1());
	fork_and_end(holds_all_1);
	settle();
	must(holds_all_1() && is_all(border - 10, 20, REGION_ISLAND));
}

void what_waits_is_not_proposed(void)
{
	uint64_t mask;

	make_filled();
	must(cut(10, 20) == 0 && give(10, 20) == 0);
	region_lock(&mask);
	must(region_find_hole(region, 20 * PAGE, PAGE) == pages * PAGE);
	region_unlock(&mask);
	must(give(30, 20) == 0);
	region_lock(&mask);
	must(region_find_hole(region, 20 * PAGE, PAGE) == 30 * PAGE);
	must(region_find_hole(region, 21 * PAGE, PAGE) == pages * PAGE);
	must(region_find_hole(region, 10 * PAGE, 32 * PAGE) == 32 * PAGE);
	must(region_find_hole(region, (size_t)1 << 40, PAGE) == SIZE_MAX);
	region_unlock(&mask);
}

/* The place now belongs to the program, and the file's pages there are given back. */
void lost_memory_is_given_back(void)
{
	make_filled();
	must(region_resident(region) == pages * PAGE);
	memset(lose(10, 20), 7, 20 * PAGE);
	must(region_resident(region) == (pages - 20) * PAGE);
	fork_and_end(is_child);
	memset(lose(100, 20), 7, 20 * PAGE);
	must(is_all(100, 20, REGION_FOREIGN));
	settle();
	must(region_resident(region) == (pages - 40) * PAGE);
	must(cut(200, 20) == 0);
	memset(lose(200, 20), 7, 20 * PAGE);
	fork_and_end(is_child);
	settle();
	must(region_resident(region) == (pages - 60) * PAGE);
	for (size_t page = 0; page < pages; page++)
		if ((page >= 10 && page < 30) || (page >= 100 && page < 120) || (page >= 200 && page < 220))
			must(home[page * PAGE] == 7 && home[page * PAGE + PAGE - 1] == 7);
		else
			must(holds(page, page + 1, 1));
}

/* The kernel refused the program's call after all: no trace may be left of what the library began. */
void nothing_lost(void)
{
	uint64_t mask;

	make_filled();
	for (int frozen = 0; frozen < 2; frozen++) {
		region_lock(&mask);
		must(region_lose_begin(region, 10 * PAGE, 20 * PAGE) == 0);
		region_unlock(&mask);
		must(holds_all_1() && is_all(0, pages, REGION_MEMORY));
		fork_and_end(holds_all_1);
	}
	settle();
	must(holds_all_1());
}

/* Writes the list directly, in place of as many calls, which would take too long. */
void list_is_full(void)
{
	enum { MOST = REGION_EXTENTS, OF_A_BLOCK = 128 };
	struct region_extents *extents;
	struct region_extent hole;
	uint64_t mask;
	size_t end;

	make_bare();
	must(take(0, MOST + 10) == 0);
	fill(MOST, MOST + 10, 1);
	must(cut(0, MOST - 2) == 0);
	region_lock(&mask);
	extents = region->extents;
	must(extents->count == 2);
	hole = *region_extent_at(region, region->length - PAGE, region->length, &end);
	extents->count = MOST - 1;
	extents->blocks = extents->known = MOST / OF_A_BLOCK;
	for (size_t page = 0; page < MOST - 1; page++) {
		struct region_block *block = region_block_of(extents, page / OF_A_BLOCK);
		extents->order[page / OF_A_BLOCK] = (unsigned short)(page / OF_A_BLOCK);
		block->count = page % OF_A_BLOCK + 1;
		block->list[page % OF_A_BLOCK] = (struct region_extent){
			.from = page * PAGE,
			.length = PAGE,
			.kind = REGION_ISLAND,
			.protection = PROT_READ | (page % 2 ? PROT_WRITE : 0),
		};
		if (page == MOST - 2)
			block->list[page % OF_A_BLOCK] = hole;
	}
	region_unlock(&mask);
	must(is_all(MOST - 3, 1, REGION_ISLAND) && is_all(MOST - 2, 12, REGION_MEMORY));
	must(give(MOST + 3, 1) == ENOMEM && holds(MOST, MOST + 10, 1) && is_all(MOST - 2, 12, REGION_MEMORY));
	must(cut(MOST + 3, 1) == ENOMEM && holds(MOST, MOST + 10, 1) && is_all(MOST - 2, 12, REGION_MEMORY));
	region_lock(&mask);
	must(region_lose_begin(region, (MOST + 8) * PAGE, PAGE) == ENOMEM);
	extents->count--; /* one more run seems to fit, but two are about to be lost */
	must(region_lose_begin(region, (MOST - 3) * PAGE, 2 * PAGE) == ENOMEM);
	extents->count++;
	region_unlock(&mask);
	must(holds(MOST, MOST + 10, 1));
}

/* ---- The list alone ---------------------------------------------------------------------------------------------- */

static void must_be_right(const char *what)
{
	if (what != NULL)
		fprintf(stderr, "%s\n", what);
	must(what == NULL);
}

void list_in_blocks(void)
{
	must_be_right(list_model_changes(1, 8));
}

void list_beside_readers(void)
{
	must_be_right(list_model_readers(1, 3000));
}

void list_of_raw_children(void)
{
	must_be_right(list_model_clones(1, 12));
}
