/* SPDX-License-Identifier: MIT
 *
 * Children that stay. Nothing settles beside them, and what the process writes meanwhile is there twice: its own page,
 * and the file's under it, which those children may read that were made before it was written. Where the next child
 * always comes before the last one has gone, that grows to all of the memory. So children are told apart:
 *
 *   look   Which pages are the process's own by now. A child that is made from here on inherits these as its own,
 *          and never sees the file's under them; it gets another token than those before it.
 *   drop   When none of those is left (token.c), the file's pages under these are nobody's, and are given back.
 *
 * Of invariant 1 this keeps what matters: no page of the file changes that a descendant can see. One that took
 * back one of its own pages past the library sees the file's; it gets zeros then, as it would have without a region.
 *
 * By the keeper. A page that was the process's own at the look, and is not any more at the drop, was given back, and
 * has zeros over it, or has gone elsewhere with its mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "bits.h"
#include "keeper.h"

/* How much is looked at, and how many pages are given back, with the lock in hand, for which a fork may be waiting. */
#define LOOK_SLICE ((size_t)64 << 20)
#define DROP_PAGES ((size_t)256)
#define DROP_NS    200000u
/* It pays where so many forks found it FROZEN, as children overlap: else the next one ends soon, and a settle is to
 * begin at once. And from so much on: a part of what the file has. */
#define LEAST_FORKS 4u
#define LEAST_PAGES 1024u
#define LEAST_PART  32u
/* And takes this part of a processor at most: each run of pages is looked for in every child. A quarter where much is
 * written between two looks, a twentieth of the file or more: else most of that would be there twice before the next
 * one. */
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

/* Behind the bits of the look: those of what was given back since the freeze, which the file has not any more. */
static uint64_t *dropped(const struct odf_region *region)
{
	return region->own_pages + bits_size(region->length) / sizeof(uint64_t);
}

/* Nothing of a child's or of a core dump's. Empty, but for what was dropped, if the freeze is that one still. */
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

/* The first page from there on that is own; at most `end`. */
static size_t next_own(const struct odf_region *region, size_t page, size_t end)
{
	bool own = true;
	size_t stop = page < end ? bits_run(region->own_pages, page, end, &own) : end;

	return own ? page : stop;
}

/* Under the lock: all is FROZEN since the freeze of that epoch, and children have it. */
static bool is_frozen_since(const struct odf_region *region, uint64_t epoch)
{
	return region->epoch == epoch && region->visible && region->live_length == 0 && !region->left &&
	       !region->doubt;
}

static void pause_between(const struct region_settler *settler)
{
	settler->between_steps(&(struct region_progress){ 0 });
}

/* Those of [page, end) that were not dropped. */
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

/* The kernel's pages of zeros as well, which go as the file's pages do: what is then read there is zeros (drop_run). */
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

/* Then those to come have another token than those that are there. */
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
			/* What has come to lie there past the library says nothing of the file's pages, which may be
			 * elsewhere. */
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
	/* A child that is being made may know the one token, and have the other. */
	if (!is_frozen_since(region, epoch) || region_has_pending_forks())
		error = EAGAIN;
	else
		error = region_token_renew(region);
	region_unlock_as_keeper();
	return error;
}

/* The kernel's page of zeros, here or in a child, goes a moment before the file's page does, which who reads then would
 * get: so that is zeros first. False: not all could be given back; it is at another time, or when all is settled. */
static bool drop_run(const struct odf_region *region, size_t from, size_t end)
{
	static const char zeros[REGION_PAGE];
	bool found = false;

	/* Page by page: to look for the next hole takes as long as there is data, to the end of the file. */
	for (size_t at = from; at < end; at += REGION_PAGE) {
		long data = sys_call3(SYS_lseek, region->file, at, SEEK_DATA);
		if (data < 0 || (size_t)data >= end) /* ENXIO: there is none */
			break;
		at = (size_t)data;
		if (sys_call4(SYS_pwrite64, region->file, zeros, sizeof zeros, at) != (long)sizeof zeros)
			return false;
		found = true;
	}
	return !found || sys_call4(SYS_fallocate, region->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from,
				   end - from) == 0;
}

/* 0; EINTR: there is an order, and the rest is for the next time; EAGAIN: the freeze was another. */
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
		pause_between(settler); /* which answers what is quickly answered */
		if (error == 0 && page < limit && (keeper_has_order() || limits_are_near()))
			error = EINTR;
	}
	return error;
}

/* About how much is there twice that no look has seen yet: each first write to a page is a page fault. It pays, and is
 * much: by parts of what the file has. */
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
