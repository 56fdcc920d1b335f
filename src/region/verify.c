/* SPDX-License-Identifier: MIT
 *
 * Whether the mappings at home are as the list of extents says. A program can map something else there, unmap memory or
 * change its rights by system calls that are not interposed: in its own code, in another library, by another way into
 * the kernel. Moves and advice succeed on such mappings too (since Linux 6.17 over gaps and any number of mappings). So
 * code that moves memory, covers it, or hands out a hole checks here before. What another thread does between the check
 * and the move cannot be known.
 *
 * Memory that turns out not to be the region's is the program's from then on: a foreign place, which nothing of the
 * region touches, and which children get as the kernel gives it to them. If only rights have changed, the memory
 * becomes an island with these rights.
 *
 * Memory that was moved away with its page tables is a view of the file somewhere else (stray.c).
 *
 * Under the lock; async-signal-safe.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

enum verdict { OURS, RIGHTS, NOT_OURS };

static bool is_in_place(const struct odf_region *region, const struct region_mapping *mapping)
{
	return region_is_view(region, mapping) &&
	       mapping->offset + (uintptr_t)region->home == (uintptr_t)mapping->start;
}

static bool is_anonymous(const struct region_mapping *mapping)
{
	return mapping->inode == 0 && mapping->device == 0 && !mapping->shared;
}

/* For the mapping at `at`. *stop: the end of what is judged; lowered if the verdict holds for less. */
static enum verdict judge(const struct odf_region *region, const struct region_extent *run, bool live,
			  const struct region_mapping *mapping, char *at, char **stop)
{
	bool ours = is_in_place(region, mapping);

	if (run->kind == REGION_HOLE)
		return mapping->protection == PROT_NONE &&
				       ((ours && mapping->shared) || (run->stale && is_anonymous(mapping)))
			       ? OURS
			       : NOT_OURS;
	if (live) {
		ours = ours && mapping->shared;
	} else if (is_anonymous(mapping)) { /* zeros that were mapped over discarded memory */
		size_t page = (size_t)(at - region->home) / REGION_PAGE;
		size_t limit = (size_t)(*stop - region->home) / REGION_PAGE;
		*stop = region->home + region_discard_run(region, page, limit, &ours) * REGION_PAGE;
	} else {
		ours = ours && !mapping->shared;
	}
	return !ours ? NOT_OURS : mapping->protection == region->rights ? OURS : RIGHTS;
}

/* ---- To correct the list ---- */

static int correct(struct odf_region *region, size_t from, size_t length, enum verdict verdict, int protection)
{
	bool hidden = !region->visible;
	int error;

	if (verdict == NOT_OURS) {
		error = region_lose(region, from, length);
		/* The program's mapping came to lie in a place that was hidden from children, and is not to be hidden.
		 * Fails if nothing is mapped. */
		if (error == 0 && hidden)
			(void)sys_call3(SYS_madvise, region->home + from, length, MADV_DOFORK);
		return error;
	}
	/* The keeper may not make memory executable (confine.c). FROZEN memory has these rights already. */
	if ((protection & PROT_EXEC) && region_lock_is_keepers()) {
		size_t end = from + length;
		if (region_is_live(region, from, &end))
			return EPERM;
		error = region_cut_known(region, from, length);
		if (error == 0)
			region_set_island(region, from, length, protection, 0);
		return error;
	}
	/* EPERM: sealed memory, which can be neither moved nor covered. If nobody can write to it any more, a child may
	 * inherit it as it is. */
	if (!(protection & PROT_WRITE) && sys_call3(SYS_mprotect, region->home + from, length, protection) == -EPERM) {
		if (sys_call3(SYS_madvise, region->home + from, length, MADV_DOFORK) < 0)
			return ENOMEM;
		return region_leave_sealed(region, from, length);
	}
	error = region_cut_known(region, from, length);
	if (error == 0 && sys_call3(SYS_mprotect, region->home + from, length, protection) < 0)
		error = ENOMEM;
	if (error == 0)
		region_set_island(region, from, length, protection, 0);
	return error;
}

struct check {
	struct region_maps *maps;
	bool changed;
};

/* That a mapping is gone is believed only of a list that has a mapping that must be there: at the token's place, which
 * is the library's as long as the region exists. */
static bool is_of_this_process(const struct odf_region *region, struct region_maps *maps)
{
	const char *page = region_token_page(region, region->token);
	struct region_mapping mapping;

	return region_maps_find(maps, page, &mapping) == 0 && mapping.start <= page;
}

static int check_run(struct odf_region *region, struct check *check, const struct region_extent *run, bool live)
{
	char *at = region->home + run->from, *end = at + run->length;
	int error = 0;

	while (at < end && error == 0) {
		struct region_mapping mapping = { 0 };
		enum verdict verdict = NOT_OURS;
		char *stop = end;
		error = region_maps_find(check->maps, at, &mapping);
		if (error == ENOENT)
			mapping.start = end;
		else if (error != 0)
			break;
		error = 0;
		if (mapping.start > at) {
			stop = mapping.start < end ? mapping.start : end;
		} else {
			stop = mapping.end < end ? mapping.end : end;
			verdict = judge(region, run, live, &mapping, at, &stop);
		}
		if (verdict != OURS && !check->changed)
			error = is_of_this_process(region, check->maps) ? 0 : EIO;
		if (verdict != OURS && !check->changed && error == 0)
			error = region_bring_in_strays(region, check->maps);
		if (verdict != OURS && error == 0) {
			check->changed = true;
			error = correct(region, (size_t)(at - region->home), (size_t)(stop - at), verdict,
					mapping.protection);
			region_maps_again(check->maps);
		}
		at = stop;
	}
	return error;
}

/* ---- If the list is not available ---- */

#define BEYOND_ANY_FILE (1ul << 51)

/* remap_file_pages checks first whether the range consists of shared mappings of one file, with the same rights and
 * without a gap, and then whether the requested part can be in a file: EOVERFLOW, before anything is changed. The first
 * such call after boot makes the kernel write to its log, so this is not the first choice. */
static long compare(const char *start, size_t length)
{
	return sys_call5(SYS_remap_file_pages, start, length, 0, BEYOND_ANY_FILE, MAP_NONBLOCK);
}

static bool can_compare(void)
{
	static atomic_int known; /* 0: not known; 1: no; 2: yes */
	int value = atomic_load_explicit(&known, memory_order_relaxed);
	char *page;

	if (value != 0)
		return value == 2;
	page = region_map(NULL, REGION_PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == NULL)
		return false;
	value = compare(page, REGION_PAGE) == -EOVERFLOW ? 2 : 1;
	(void)region_unmap(page, REGION_PAGE);
	atomic_store_explicit(&known, value, memory_order_relaxed);
	return value == 2;
}

/* For LIVE memory. */
static int check_by_comparing(struct odf_region *region, size_t from, size_t length, bool *changed)
{
	size_t half = region_half(length);
	int error;

	if (compare(region->home + from, length) != -EINVAL)
		return 0;
	if (length == REGION_PAGE) {
		*changed = true;
		return correct(region, from, length, NOT_OURS, 0);
	}
	error = check_by_comparing(region, from, half, changed);
	return error != 0 ? error : check_by_comparing(region, from + half, length - half, changed);
}

int region_verify(struct odf_region *region, struct region_maps *maps, size_t from, size_t length, bool *changed)
{
	struct check check = { .maps = maps };
	size_t limit = from + length;
	int error = 0;

	*changed = false;
	if (region->extents == NULL || region->inherited || region->left)
		return 0;
	for (size_t at = from, end; at < limit && error == 0; at = end) {
		struct region_extent run = region_run_at(region, at, limit);
		bool live;
		end = at + run.length;
		live = region_is_live(region, at, &end);
		run.length = end - at;
		if (run.kind != REGION_MEMORY && run.kind != REGION_HOLE)
			continue;
		if (maps != NULL)
			error = check_run(region, &check, &run, live);
		else if (run.kind == REGION_MEMORY && live && !region_lock_is_keepers() && can_compare())
			error = check_by_comparing(region, run.from, run.length, &check.changed);
	}
	*changed = check.changed;
	return error;
}

int region_verify_now(struct odf_region *region, size_t from, size_t length, bool *changed)
{
	struct region_maps maps;
	int error;

	*changed = false;
	if (region->extents == NULL || region->inherited || region->left)
		return 0;
	error = region_maps_begin(&maps);
	if (error != 0)
		return region_lock_is_keepers() ? error : region_verify(region, NULL, from, length, changed);
	error = region_verify(region, &maps, from, length, changed);
	region_maps_end(&maps);
	return error;
}

void region_reclaim_gaps(struct odf_region *region, size_t from, size_t length)
{
	char *at = region->home + from, *end = at + length;
	struct region_maps maps;

	if (region->extents == NULL || region->inherited || region->left || region_maps_begin(&maps) != 0)
		return;
	while (at < end) {
		struct region_mapping mapping = { .start = end };
		char *gap_end;
		int error = region_maps_find(&maps, at, &mapping);
		if (error != 0 && error != ENOENT)
			break;
		if (error == ENOENT)
			mapping.start = mapping.end = end;
		gap_end = mapping.start < end ? mapping.start : end;
		/* In one call, as another thread may map something there. */
		if (gap_end > at && region_reserve_again(at, (size_t)(gap_end - at))) {
			(void)region_reclaim(region, (size_t)(at - region->home), (size_t)(gap_end - at));
			region_maps_again(&maps);
		}
		at = mapping.end;
	}
	region_maps_end(&maps);
}

void region_forget_gone(struct odf_region *region, size_t from, size_t length)
{
	size_t at = from, limit = from + length, end;
	struct region_maps maps;

	while (at < limit && region_extent_at(region, at, limit, &end) != NULL)
		at = end;
	/* It may have been moved elsewhere, and still be a view of the file. */
	if (at < limit && !region->inherited && !region->left && region_maps_begin(&maps) == 0) {
		(void)region_bring_in_strays(region, &maps);
		region_maps_end(&maps);
	}
	region_lose_end(region, from, length);
}
