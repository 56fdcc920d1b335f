/* SPDX-License-Identifier: MIT
 *
 * Children that live long. Nothing settles while they exist, and each page that the process writes meanwhile is there
 * twice: its own copy, and the file's page under it, which children may read that were made before the write. If a new
 * child always comes before the last one has ended, that grows to all of the memory. So children are told apart:
 *
 *   look   Records which pages are the process's own. A child that is made after the look inherits these as its own,
 *          and never sees the file's pages under them; it gets another token than the children before it.
 *   drop   When none of the older children is left (token.c), no process needs the file's pages under the recorded
 *          ones, and they are given back.
 *
 * This keeps what matters of invariant 1: no page of the file changes that a descendant can see. A descendant that has
 * discarded a page of its own by a raw system call sees the file's page; after the drop it sees zeros, as it would
 * without a region.
 *
 * In the keeper. A page that was the process's own at the look, and is not at the drop, was given back and has zeros
 * mapped over it, or was moved away with its mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "bits.h"
#include "keeper.h"

/* The bytes that a look covers and the pages that a drop gives back while the lock is held: a fork may wait for it. */
#define LOOK_SLICE ((size_t)64 << 20)
#define DROP_PAGES ((size_t)256)
#define DROP_NS    200000u
/* It pays if so many forks have found the region FROZEN, as children overlap then; otherwise the next child ends soon,
 * and a settle is to begin at once. And it pays from so many pages on, and from such a part of the file's pages. */
#define LEAST_FORKS 4u
#define LEAST_PAGES 1024u
#define LEAST_PART  32u
/* The part of a processor that it may take: the kernel looks for each run of pages in each child. A quarter if much was
 * written between two looks, a twentieth of the file or more: otherwise most of that would be there twice before the
 * next look. */
#define TIME_PART      16u
#define TIME_PART_MUCH 3u
#define MUCH_PART      20u

bool region_older_always;

void region_older_release(struct odf_region *region)
{
	if (region->own_pages != NULL && !region->inherited)
		(void)region_unmap(region->own_pages, 2 * bits_size(region->length));
	region->own_pages = NULL;
}

/* Follows the bits of the look: the pages that were given back since the freeze, which the file no longer has. */
static uint64_t *dropped(const struct odf_region *region)
{
	return region->own_pages + bits_size(region->length) / sizeof(uint64_t);
}

/* Not inherited by children, and not in core dumps. All bits are cleared; those of dropped pages stay if the freeze is
 * still the same. */
static int make_bits(struct odf_region *region, uint64_t epoch)
{
	size_t size = bits_size(region->length);

	if (region->own_pages != NULL) {
		if (sys_call3(SYS_madvise, region->own_pages, region->dropped_epoch == epoch ? size : 2 * size,
			      MADV_DONTNEED) == 0) {
			region->dropped_epoch = epoch;
			return 0;
		}
		region_older_release(region);
	}
	region->own_pages = region_map_own(NULL, 2 * size);
	if (region->own_pages == NULL)
		return ENOMEM;
	region->dropped_epoch = epoch;
	(void)sys_call3(SYS_madvise, region->own_pages, 2 * size, MADV_DONTFORK);
	(void)sys_call3(SYS_madvise, region->own_pages, 2 * size, MADV_DONTDUMP);
	return 0;
}

/* The first own page from `page` on; at most `end`. */
static size_t next_own(const struct odf_region *region, size_t page, size_t end)
{
	bool own = true;
	size_t stop = page < end ? bits_run(region->own_pages, page, end, &own) : end;

	return own ? page : stop;
}

/* Under the lock. All has been FROZEN since the freeze of that epoch, and children inherit it. */
static bool is_frozen_since(const struct odf_region *region, uint64_t epoch)
{
	return region->epoch == epoch && region->visible && region->live_length == 0 && !region->left &&
	       !region->doubt;
}

static void pause_between(const struct region_settler *settler)
{
	settler->between_steps(&(struct region_progress){ 0 });
}

/* Marks the pages of [page, end) that were not dropped. */
static void mark_run(struct odf_region *region, size_t page, size_t end)
{
	while (page < end) {
		bool gone;
		size_t next = bits_run(dropped(region), page, end, &gone);
		if (!gone)
			bits_put(region->own_pages, page, next, true);
		page = next;
	}
}

/* Marks the process's own pages. The kernel's zero pages count: punching the file unmaps them as it unmaps the file's
 * pages, and reads give zeros then (drop_run). */
static int mark_own(struct odf_region *region, const struct region_settler *settler, size_t from, size_t end)
{
	struct region_run *runs = settler->desk->runs;
	char *at = region->home + from, *stop = region->home + end;

	while (at < stop) {
		long count = region_private(settler->pagemap, at, stop, true, 0, runs, REGION_RUNS, &at);
		if (count < 0)
			return (int)-count;
		for (long i = 0; i < count; i++)
			mark_run(region, (size_t)(runs[i].start - region->home) / REGION_PAGE,
				 (size_t)(runs[i].end - region->home) / REGION_PAGE);
	}
	return 0;
}

/* 0: later children have another token than present ones. */
static int look(struct odf_region *region, const struct region_settler *settler, uint64_t epoch)
{
	int error = make_bits(region, epoch);

	for (size_t at = 0, end; error == 0 && at < region->capacity; at = end) {
		region_lock_as_keeper();
		end = region->capacity;
		if (!is_frozen_since(region, epoch)) {
			error = EAGAIN;
		} else if (region_extent_at(region, at, region->capacity, &end) == NULL) {
			end = end - at < LOOK_SLICE ? end : at + LOOK_SLICE;
			/* A mapping that a raw system call has put there says nothing about the file's pages, which may
			 * be mapped elsewhere. */
			error = region_verify_as_keeper(region, at, end - at);
			if (error == 0)
				error = mark_own(region, settler, at, end);
		}
		region_unlock_as_keeper();
		pause_between(settler);
		if (error == 0 && (keeper_has_order() || limits_are_near()))
			error = EAGAIN;
	}
	if (error != 0)
		return error;
	region_lock_as_keeper();
	/* A child that is being made may have noted one token and inherit the other. */
	if (!is_frozen_since(region, epoch) || region_has_pending_forks())
		error = EAGAIN;
	else
		error = region_token_renew(region);
	region_unlock_as_keeper();
	return error;
}

/* Punching unmaps the kernel's zero page, here or in a child, a moment before it removes the file's page. A thread that
 * reads in between gets the file's page, so zeros are written to that first. False: not all was given back; a later
 * drop does it, or the settle. */
static bool drop_run(const struct odf_region *region, size_t from, size_t end)
{
	static const char zeros[REGION_PAGE];
	bool found = false;

	/* Page by page: SEEK_HOLE passes over all data up to the next hole, maybe to the end of the file. */
	for (size_t at = from; at < end; at += REGION_PAGE) {
		long data = sys_call3(SYS_lseek, region->file, at, SEEK_DATA);
		if (data < 0 || (size_t)data >= end) /* ENXIO: no more data */
			break;
		at = (size_t)data;
		if (sys_call4(SYS_pwrite64, region->file, zeros, sizeof zeros, at) != (long)sizeof zeros)
			return false;
		found = true;
	}
	return !found || sys_call4(SYS_fallocate, region->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from,
				   end - from) == 0;
}

/* 0; EINTR: there is an order, or the CPU limit is near, and the rest is left to the next drop; EAGAIN: there was
 * another freeze. */
static int drop(struct odf_region *region, const struct region_settler *settler)
{
	size_t limit = region->capacity / REGION_PAGE, page = next_own(region, 0, limit);
	int error = 0;

	while (page < limit && error == 0) {
		size_t left = DROP_PAGES, slice = LOOK_SLICE / REGION_PAGE;
		size_t stop = limit - page < slice ? limit : page + slice;
		uint64_t start;
		region_lock_as_keeper();
		start = region_clock();
		error = is_frozen_since(region, region->older_epoch) ? 0 : EAGAIN;
		while (page < stop && left > 0 && error == 0) {
			bool own;
			size_t end = bits_run(region->own_pages, page, stop - page < left ? stop : page + left, &own);
			if (drop_run(region, page * REGION_PAGE, end * REGION_PAGE))
				bits_put(dropped(region), page, end, true);
			bits_put(region->own_pages, page, end, false);
			left -= end - page;
			page = next_own(region, end, stop);
			if (region_clock() - start >= DROP_NS)
				break;
		}
		region_unlock_as_keeper();
		page = next_own(region, page, limit);
		pause_between(settler); /* which carries out urgent orders */
		if (error == 0 && page < limit && (keeper_has_order() || limits_are_near()))
			error = EINTR;
	}
	return error;
}

/* Whether a look pays. Each first write to a page is a page fault, so the faults since the last look are about the
 * pages that are there twice and unrecorded. The thresholds, also that of older_is_much, are parts of the file's
 * pages. */
static bool pays(struct odf_region *region, uint64_t faults)
{
	struct stat about = { 0 };
	uint64_t pages, fresh = faults - region->older_faults;

	if (region_older_always)
		return true;
	if (region->frozen_forks < LEAST_FORKS || sys_call2(SYS_fstat, region->file, &about) < 0)
		return false;
	pages = (uint64_t)about.st_blocks * 512 / REGION_PAGE;
	if (fresh < pages / LEAST_PART || fresh < LEAST_PAGES)
		return false;
	region->older_is_much = fresh >= pages / MUCH_PART;
	return true;
}

void region_drop_older(struct odf_region *region, const struct region_settler *settler, uint64_t faults)
{
	uint64_t start = region_cpu_clock(), epoch;
	int error;

	if (settler->pagemap < 0 || (region_clock() < region->older_ns && !region_older_always))
		return;
	region_lock_as_keeper();
	epoch = region->epoch;
	error = is_frozen_since(region, epoch) ? region_token_ask_older(region) : EAGAIN;
	region_unlock_as_keeper();
	if (error == 0 && region->older_marked && region->older_epoch == epoch)
		error = drop(region, settler);
	if (error == EBUSY || error == EINTR)
		return;
	region->older_marked = false;
	if (error == 0 && pays(region, faults) && look(region, settler, epoch) == 0) {
		region->older_marked = true;
		region->older_epoch = epoch;
		region->older_faults = faults;
	}
	region->older_ns = region_clock() +
			   (region->older_is_much ? TIME_PART_MUCH : TIME_PART) * (region_cpu_clock() - start);
}
