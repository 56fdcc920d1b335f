/* SPDX-License-Identifier: MIT
 *
 * Memory that was never written becomes ordinary anonymous memory at the same addresses, outside of the region: the
 * program asks for what only anonymous memory can have, large pages. Nothing is copied. A page that another thread
 * writes for the first time at that very moment is not lost, but may read as zero for some microseconds.
 *
 * Under the lock; async-signal-safe.
 */
#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "../capability/capability.h"
#include "internal.h"

#define TABLE_PAGES (REGION_TABLE / REGION_PAGE)

/* A page that is not in memory could be swapped out, and is not zero then. */
static bool nothing_is_swapped(void)
{
	struct sysinfo system;

	return sys_call1(SYS_sysinfo, &system) == 0 && system.freeswap == system.totalswap;
}

/* Before Linux 6.4 the kernel says of pages of a file that they are not in memory, for a moment, while it collapses
 * them into a large page. */
static bool may_be_gathered(void)
{
	return region_files_are_large() && !capability(ODF_PROBE_PAGEMAP_SCAN); /* Linux 6.7 */
}

/* If a seccomp filter could punish the calls, all pages are to be read. */
void region_look_there(const char *start, size_t length, unsigned char *there)
{
	size_t pages = length / REGION_PAGE;

	/* Swap is looked at before and after: a page that is swapped out in between would be taken for none. */
	if (!region_is_unfiltered() || may_be_gathered() || !nothing_is_swapped() ||
	    sys_call3(SYS_mincore, start, length, there) < 0 || !nothing_is_swapped())
		memset(there, 1, pages);
}

static bool is_zero_page(const char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, REGION_PAGE - 1) == 0;
}

static bool is_zero_table(const char *start)
{
	unsigned char there[TABLE_PAGES];

	region_look_there(start, REGION_TABLE, there);
	for (size_t page = 0; page < TABLE_PAGES; page++)
		if ((there[page] & 1) && !is_zero_page(start + page * REGION_PAGE))
			return false;
	return true;
}

/* Copies words that other threads wrote to the file between the look and the new mapping. Nobody writes to the file
 * there any more. */
static void save_late_words(char *home, const char *view, size_t length)
{
	for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
		const uint64_t *from = (const uint64_t *)(const void *)(view + at);
		uint64_t *to = (uint64_t *)(void *)(home + at), zero = 0;
		if (*from != 0)
			(void)__atomic_compare_exchange_n(to, &zero, *from, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
}

static void save_late_pages(struct odf_region *region, size_t from)
{
	unsigned char there[TABLE_PAGES];
	char *view;
	bool any = false;

	if (!region_source_unfold(region, from, from + REGION_TABLE))
		return;
	view = region->source + from;
	region_look_there(view, REGION_TABLE, there);
	for (size_t page = 0; page < TABLE_PAGES; page++)
		any = any || (there[page] & 1);
	if (!any || (!region_is_executable(region) && sys_call3(SYS_mprotect, view, REGION_TABLE, PROT_READ) < 0))
		return;
	for (size_t page = 0; page < TABLE_PAGES; page++)
		if (there[page] & 1)
			save_late_words(region->home + from + page * REGION_PAGE, view + page * REGION_PAGE,
					REGION_PAGE);
	if (!region_is_executable(region))
		(void)sys_call3(SYS_mprotect, view, REGION_TABLE, PROT_NONE);
}

/* Replaces tables that are LIVE, and were found to be zero, by anonymous memory. */
static int exchange(struct odf_region *region, size_t from, size_t until)
{
	if (!region_source_unfold(region, from, until) || !region_map_memory(region, from, until - from)) {
		region_source_fold(region);
		return ENOMEM;
	}
	for (size_t at = from; at < until; at += REGION_TABLE)
		save_late_pages(region, at);
	region_source_fold(region);
	return region_lose(region, from, until - from);
}

static int free_live(struct odf_region *region, size_t from, size_t limit)
{
	size_t start = from;
	int error = 0;

	for (size_t at = from; at < limit && error == 0; at += REGION_TABLE) {
		if (is_zero_table(region->home + at))
			continue;
		if (start < at)
			error = exchange(region, start, at);
		start = at + REGION_TABLE;
	}
	return error == 0 && start < limit ? exchange(region, start, limit) : error;
}

/* Only tables over which zeros were laid: they are anonymous memory already. */
static int free_frozen(struct odf_region *region, size_t from, size_t limit)
{
	bool hidden = !region->visible && !region->inherited;
	int error = 0;

	for (size_t at = from; at < limit && error == 0; at += REGION_TABLE) {
		size_t page = at / REGION_PAGE;
		bool zeros;
		if (region_discard_run(region, page, page + TABLE_PAGES, &zeros) != page + TABLE_PAGES || !zeros)
			continue;
		if (hidden && sys_call3(SYS_madvise, region->home + at, REGION_TABLE, MADV_DOFORK) < 0)
			return ENOMEM;
		error = region_lose(region, at, REGION_TABLE);
	}
	return error;
}

/* Home begins at a multiple of a table. */
static size_t table_up(size_t at)
{
	return (at + REGION_TABLE - 1) / REGION_TABLE * REGION_TABLE;
}

int region_free_fresh(struct odf_region *region, size_t from, size_t length)
{
	size_t limit = from + length;
	int error;

	/* Every second table may become a foreign place. */
	if (region->left || region->absent || !region_makes_room(region, 2 * (length / REGION_TABLE + 4)))
		return ENOTSUP;
	error = region_check(region, from, length);
	for (size_t at = from, end; at < limit && error == 0; at = end) {
		struct region_extent run = region_run_at(region, at, limit);
		bool live;
		end = at + run.length;
		live = region_is_live(region, at, &end);
		if (run.kind == REGION_MEMORY && table_up(at) < end / REGION_TABLE * REGION_TABLE)
			error = live ? free_live(region, table_up(at), end / REGION_TABLE * REGION_TABLE)
				     : free_frozen(region, table_up(at), end / REGION_TABLE * REGION_TABLE);
	}
	return error;
}
