/* SPDX-License-Identifier: MIT
 *
 * Parting: a child that outlives the process whose region it inherited stops using that region's file.
 *
 * Home of such a child consists of private views of the file. The child has no descriptor of the file, and cannot know
 * whether it is the last process that maps it, so it can remove nothing from it. The file keeps a page under each page
 * that the child has written, and keeps pages that the child has given back, which are in no process's resident set.
 * But the child can copy the pages that it still reads from the file to memory of its own. Then it no longer maps the
 * file, and the last process to stop doing so frees it. This is correct at any time. Whether it pays is the caller's
 * decision, by region_shown_get.
 *
 * Under the lock, in a process of one thread, with signals blocked. Async-signal-safe. Descriptors are in the program's
 * table for that moment only.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>

#include "../sys/proc.h"
#include "../sys/text.h"
#include "internal.h"

/* Bytes that are copied before they replace the view: so much is there twice. */
#define SLICE ((size_t)2 << 20)
#define SLICE_PAGES (SLICE / REGION_PAGE)

#define ENTRY_EXCLUSIVE (1ull << 56) /* Linux 4.2; older kernels report each page as mapped by others, too */
#define ENTRY_FILE      (1ull << 61)
#define ENTRY_SWAPPED   (1ull << 62)
#define ENTRY_PRESENT   (1ull << 63)

struct pages {
	uint64_t entries[SLICE_PAGES];
	unsigned char cached[SLICE_PAGES];
};

/* Too large for a small stack; the process has no second thread that uses it. */
static struct pages pages;

static bool is_at_home(const struct odf_region *region, const struct region_mapping *mapping)
{
	return mapping->start >= region->home && mapping->end <= region->home + region->length;
}

/* A zombie exists, but has no memory: its size reads as 0. */
static bool has_no_memory(int process)
{
	char path[40], size = '1';
	struct text text = text_start(path, sizeof path);
	int file;

	text_add(&text, "/proc/");
	text_add_unsigned(&text, (uint64_t)process);
	text_add(&text, "/statm");
	file = proc_open(path, O_RDONLY);
	if (file < 0)
		return false;
	if (sys_read(file, &size, 1) != 1)
		size = '1';
	sys_close(file);
	return size == '0';
}

bool region_maker_is_gone(const struct odf_region *region)
{
	/* A filter could punish the call. */
	return region_is_unfiltered() &&
	       (sys_call2(SYS_kill, region->maker, 0) == -ESRCH || has_no_memory(region->maker));
}

/* If so: a page of the file that is swapped out is not in the page cache, and looks like one that does not exist. */
static bool can_be_swapped_out(void)
{
	struct sysinfo machine;

	return sys_call1(SYS_sysinfo, &machine) < 0 || machine.totalswap != 0;
}

static int read_pages(int pagemap, char *start, size_t count)
{
	size_t done = 0, size = count * sizeof pages.entries[0];

	while (done < size) {
		long got = sys_call4(SYS_pread64, pagemap, (char *)pages.entries + done, size - done,
				     (uintptr_t)start / REGION_PAGE * sizeof pages.entries[0] + done);
		if (got == -EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? (int)-got : EIO;
		done += (size_t)got;
	}
	return sys_call3(SYS_mincore, start, count * REGION_PAGE, pages.cached) < 0 ? EIO : 0;
}

static bool is_own(size_t page)
{
	return (pages.entries[page] & (ENTRY_PRESENT | ENTRY_SWAPPED)) && !(pages.entries[page] & ENTRY_FILE);
}

/* The process reads the file's page there, or may. */
static bool is_needed(size_t page, bool swaps)
{
	return !is_own(page) && (swaps || (pages.cached[page] & 1));
}

static int look_at_view(int pagemap, const struct region_mapping *view, bool swaps, struct region_shown *shown)
{
	for (char *at = view->start; at < view->end;) {
		size_t count = (size_t)(view->end - at) / REGION_PAGE;
		int error;
		if (count > SLICE_PAGES)
			count = SLICE_PAGES;
		error = read_pages(pagemap, at, count);
		if (error != 0)
			return error;
		for (size_t i = 0; i < count; i++) {
			shown->own += is_own(i) ? REGION_PAGE : 0;
			shown->needed += is_needed(i, swaps) ? REGION_PAGE : 0;
			shown->elsewhere += (pages.entries[i] & ENTRY_PRESENT) && !is_own(i) &&
							    !(pages.entries[i] & ENTRY_EXCLUSIVE)
						    ? REGION_PAGE
						    : 0;
		}
		at += count * REGION_PAGE;
	}
	return 0;
}

/* The next view of the region's file that begins at or after *at. 0, ENOENT: none, or another errno value. */
static int next_view(const struct odf_region *region, struct region_maps *maps, char **at, struct region_mapping *view)
{
	for (;;) {
		int error = region_maps_find(maps, *at, view);
		if (error != 0)
			return error;
		*at = view->end;
		if (region_is_view(region, view))
			return 0;
	}
}

/* Memory by the list of extents where nothing is mapped any more: raw system calls have given it back. */
static void count_gone(const struct odf_region *region, struct region_maps *maps, struct region_shown *shown)
{
	for (size_t at = 0; at < region->capacity;) {
		struct region_extent run = region_run_at(region, at, region->capacity);
		char *from = region->home + at, *end = from + run.length;
		at += run.length;
		if (run.kind != REGION_MEMORY)
			continue;
		while (from < end) {
			struct region_mapping mapping;
			char *next = end;
			if (region_maps_find(maps, from, &mapping) == 0 && mapping.start < end)
				next = mapping.start > from ? mapping.start : mapping.end < end ? mapping.end : end;
			else
				mapping.start = end;
			if (mapping.start > from)
				shown->given_back += (size_t)(next - from);
			from = next;
		}
	}
}

int region_shown_get(const struct odf_region *region, struct region_shown *shown)
{
	bool swaps = can_be_swapped_out();
	int pagemap, error, found = 0;
	struct region_mapping view;
	struct region_maps maps;
	char *at = NULL;

	*shown = (struct region_shown){ .given_back = region->given_back };
	if (!region->inherited || region->view_inode == 0)
		return EINVAL;
	pagemap = region_pagemap_open();
	if (pagemap < 0)
		return -pagemap;
	error = region_maps_begin(&maps);
	if (error == 0) {
		while (error == 0 && (found = next_view(region, &maps, &at, &view)) == 0) {
			if (!region_is_part_of(region, &view, region->template))
				error = look_at_view(pagemap, &view, swaps, shown);
		}
		if (error == 0 && found != ENOENT)
			error = found;
		if (error == 0 && region->extents != NULL) {
			region_maps_again(&maps);
			count_gone(region, &maps, shown);
		}
		region_maps_end(&maps);
	}
	sys_close(pagemap);
	return error;
}

static bool is_zero(const char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, REGION_PAGE - 1) == 0;
}

/* Pages of zeros are not copied. */
static int copy_slice(int pagemap, char *from, char *to, size_t length)
{
	bool swaps = can_be_swapped_out();
	int error = read_pages(pagemap, from, length / REGION_PAGE);

	for (size_t page = 0; page < length / REGION_PAGE && error == 0; page++) {
		const char *source = from + page * REGION_PAGE;
		if ((is_own(page) || is_needed(page, swaps)) && !is_zero(source))
			memcpy(to + page * REGION_PAGE, source, REGION_PAGE);
	}
	/* Swap space that has just been added may have taken pages between the look and the copy. */
	if (error == 0 && !swaps && can_be_swapped_out())
		error = EAGAIN;
	return error;
}

/* Replaces the view by the copy, in one call. Once the kernel has unmapped the view the move must succeed. */
static int put_slice(char *copy, char *home, size_t length, int protection)
{
	if (protection != (PROT_READ | PROT_WRITE) && sys_call3(SYS_mprotect, copy, length, protection) < 0)
		return ENOMEM;
	for (unsigned tries = 0; region_move(copy, home, length, false) != 0; tries++) {
		if (region_is_mapped(home, length))
			return ENOMEM;
		if (tries > 100)
			region_pause_ms(1);
	}
	return 0;
}

static int part_view(struct odf_region *region, int pagemap, const struct region_mapping *view)
{
	size_t size = (size_t)(view->end - view->start), at = 0;
	bool hidden = !(view->protection & PROT_READ);
	int error = 0;
	char *copy;

	copy = region_map_beside(region, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
				 0);
	if (copy == NULL)
		return ENOMEM;
	if (hidden && sys_call3(SYS_mprotect, view->start, size, PROT_READ) < 0)
		error = ENOMEM;
	while (at < size && error == 0) {
		size_t length = size - at < SLICE ? size - at : SLICE;
		error = copy_slice(pagemap, view->start + at, copy + at, length);
		if (error == 0)
			error = put_slice(copy + at, view->start + at, length, view->protection);
		if (error == 0)
			at += length;
	}
	if (error == 0)
		return 0;
	if (hidden)
		(void)sys_call3(SYS_mprotect, view->start + at, size - at, view->protection);
	(void)region_unmap(copy + at, size - at);
	return error;
}

/* Views outside of home. What is left of the template is the library's and not used: it is unmapped. The program has
 * moved all others there by raw system calls, and still reads them. */
static int drop_other_views(struct odf_region *region, struct region_maps *maps, int pagemap)
{
	struct region_mapping view;
	char *at = NULL;
	int error;

	region_maps_again(maps);
	while ((error = next_view(region, maps, &at, &view)) == 0) {
		if (is_at_home(region, &view))
			return EAGAIN;
		if (region_is_part_of(region, &view, region->template))
			error = region_unmap(view.start, (size_t)(view.end - view.start)) != 0 ? ENOMEM : 0;
		else
			error = view.shared ? EAGAIN : part_view(region, pagemap, &view);
		if (error != 0)
			return error;
		region_maps_again(maps);
	}
	return error == ENOENT ? 0 : error;
}

/* Later children of this process map nothing of the file, so nobody needs to know of them. */
static void drop_tokens(struct odf_region *region, struct region_maps *maps)
{
	region_ends_forget(region);
	for (int slot = 0; slot < 2; slot++) {
		char *page = region_token_page(region, slot);
		struct region_mapping mapping;
		region_maps_again(maps);
		if (region_maps_find(maps, page, &mapping) == 0 && mapping.start == page &&
		    mapping.end == page + REGION_PAGE && mapping.shared && mapping.inode != 0 &&
		    mapping.device == region->view_device)
			(void)region_unmap(page, REGION_PAGE);
	}
}

static int part_all_views(struct odf_region *region, struct region_maps *maps)
{
	int pagemap = region_pagemap_open(), error = 0;
	struct region_mapping view;
	char *at = region->home;

	if (pagemap < 0)
		return -pagemap;
	region_maps_again(maps);
	while (error == 0 && (error = next_view(region, maps, &at, &view)) == 0 && is_at_home(region, &view)) {
		error = part_view(region, pagemap, &view);
		region_maps_again(maps);
	}
	if (error == 0 || error == ENOENT)
		error = drop_other_views(region, maps, pagemap);
	sys_close(pagemap);
	return error;
}

int region_part(struct odf_region *region)
{
	/* If each small page that is copied became a large page, nothing would be saved. */
	long large = sys_call5(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
	struct region_maps maps;
	int error;

	if (!region->inherited || region->view_inode == 0)
		return EINVAL;
	error = region_maps_begin(&maps);
	if (error != 0)
		return error;
	if (large == 0)
		(void)sys_call5(SYS_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0);
	error = part_all_views(region, &maps);
	if (large == 0)
		(void)sys_call5(SYS_prctl, PR_SET_THP_DISABLE, 0, 0, 0, 0);
	if (error == 0)
		drop_tokens(region, &maps);
	region_maps_end(&maps);
	return error;
}
