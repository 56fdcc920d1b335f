/* SPDX-License-Identifier: MIT
 *
 * The parts of home that are not memory of the region: holes, islands, foreign places (internal.h). Under the lock;
 * async-signal-safe.
 *
 * What each consists of:
 *
 *     memory          LIVE: a shared view of the file; FROZEN: a private one, with zeros laid over what was discarded
 *     hole            a shared view without rights and without pages, which children do not get: mprotect makes it
 *                     memory again
 *     hole, stale     an inaccessible place; the file may have pages there, which a settle punches
 *     island          a private view of the file, or anonymous memory, as the program's calls have left it. The file is
 *                     never written there again, so an island takes no part in freezes and settles. The file is punched
 *                     there after the program has unmapped the island
 *     foreign         whatever the kernel and the program have there
 *
 * extent_lose.c has the changes that the program or the kernel makes by itself.
 *
 * Each function here works on one run at a time: it is of one kind, and LIVE or FROZEN as a whole. If the function
 * fails, the list is still true.
 */
#include <errno.h>

#include "internal.h"

/* Bytes to punch at a time: freeing 16 MiB takes a millisecond. */
#define CLEAN_SLICE ((size_t)16 << 20)

/* Anonymous memory in a window. It is the process's own, and shares no page. The program may move it away by a raw
 * system call, and it would then stay hidden from children for good. */
static bool is_never_hidden(const struct odf_region *region, size_t at, size_t *end)
{
	bool anonymous;

	if (!region->in_place)
		return false;
	*end = region_discard_run(region, at / REGION_PAGE, *end / REGION_PAGE, &anonymous) * REGION_PAGE;
	return anonymous;
}

int region_advise(struct odf_region *region, int advice)
{
	for (size_t at = 0, end; at < region->length; at = end) {
		bool changed = false;
		if (region_extent_at(region, at, region->length, &end) != NULL ||
		    (advice == MADV_DONTFORK && is_never_hidden(region, at, &end)) ||
		    sys_call3(SYS_madvise, region->home + at, end - at, advice) == 0)
			continue;
		/* The kernel refuses if the program has unmapped a part. */
		if (region_verify_now(region, at, end - at, &changed) != 0 || !changed)
			return ENOMEM;
		end = at;
	}
	return 0;
}

bool region_map_nothing(char *start, size_t length)
{
	if (!region_map_zeros(start, length, PROT_NONE))
		return false;
	(void)sys_call3(SYS_madvise, start, length, MADV_DONTFORK); /* a child that inherits it only has less room */
	(void)sys_call3(SYS_madvise, start, length, MADV_DONTDUMP);
	return true;
}

/* ---- Changes of one run ---- */

/* Unmaps the run. The kernel may map something else there at once. */
static int unmap_run(struct odf_region *region, struct region_extent run, bool live)
{
	bool stale = true;

	/* A part is not mapped: the program may have moved it, and it shows the file at its new place. */
	if (!region->gaps_seen &&
	    sys_call3(SYS_madvise, region->home + run.from, run.length, MADV_DONTNEED) == -ENOMEM)
		return EAGAIN;
	if (region_unmap(region->home + run.from, run.length) != 0)
		return ENOMEM;
	if (run.kind == REGION_MEMORY && live)
		stale = !region_punch(region, run.from, run.length);
	else
		region_discard_forget(region, run.from, run.length);
	/* Children that a raw clone has made since the verdict of the token may show the file where the island does. */
	if (run.kind == REGION_ISLAND)
		region->vacant = false;
	region_record(region, (struct region_extent){ .from = run.from, .length = run.length, .kind = REGION_FOREIGN,
						      .stale = stale });
	if (stale)
		region_note_released(region, run.length);
	return 0;
}

static int give_run(struct odf_region *region, struct region_extent run, bool live)
{
	char *home = region->home + run.from;

	if (region->inherited || region->left) {
		if (region_unmap(home, run.length) != 0)
			return ENOMEM;
		region->given_back += run.length;
		if (region->left || region->in_place)
			region_record(region, (struct region_extent){ .from = run.from, .length = run.length,
								      .kind = REGION_FOREIGN });
		else
			region_record(region, (struct region_extent){ .from = run.from, .length = run.length,
								      .kind = REGION_HOLE, .stale = false });
		return 0;
	}
	if (region->in_place)
		return unmap_run(region, run, live);
	if (run.kind == REGION_MEMORY && live) {
		/* The view comes first: it may fail, and nobody may write there any more when the pages are removed. It
		 * replaces whatever is mapped there. */
		bool viewed = region_map_view(region, home, run.from, run.length);
		if (!viewed && region_is_mapped(home, run.length))
			return ENOMEM;
		/* The kernel has unmapped the place before it failed. */
		if (!viewed && !region_reserve_again(home, run.length))
			return region_lose_run(region, run, live);
		run.kind = REGION_HOLE;
		run.stale = !viewed || !region_punch(region, run.from, run.length);
		region_record(region, run);
		return 0;
	}
	if (!region_map_nothing(home, run.length))
		return ENOMEM;
	region_discard_forget(region, run.from, run.length);
	region_record(region, (struct region_extent){ .from = run.from, .length = run.length, .kind = REGION_HOLE,
						      .stale = true });
	/* Children that a raw clone has made since the verdict of the token may show the file where the island does. */
	if (run.kind == REGION_ISLAND)
		region->vacant = false;
	return 0;
}

/* Unmaps what the program or the kernel has put there, to make it a hole again. */
static int reclaim_run(struct odf_region *region, struct region_extent run, bool live)
{
	char *home = region->home + run.from;

	(void)live;
	if (region->inherited || region->left)
		return region_unmap(home, run.length) != 0 ? ENOMEM : 0;
	if (run.stale ? !region_map_nothing(home, run.length) : !region_map_view(region, home, run.from, run.length))
		return ENOMEM;
	run.kind = REGION_HOLE;
	region_record(region, run);
	return 0;
}

static int take_run(struct odf_region *region, struct region_extent run, bool live)
{
	char *home = region->home + run.from;

	if (region->inherited) {
		/* Nothing is mapped there, or something of the program's, which stays. */
		if (region_map(home, run.length, region->rights,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == NULL)
			return ENOMEM;
		run.kind = REGION_MEMORY;
		region_record(region, run);
		return 0;
	}
	if (live) {
		if (run.stale)
			return EAGAIN;
		if (!region_open_view(region, home, run.length))
			return ENOMEM;
		region_show_in_dumps(region, run.from, run.length);
		run.kind = REGION_MEMORY;
		region_record(region, run);
		return 0;
	}
	/* FROZEN memory has its view of the file at aside, where a settle looks for it. */
	if (!region_has_aside(region))
		return ENOMEM;
	if (!region_map_view(region, region->aside + run.from, run.from, run.length)) {
		if (!region_is_mapped(region->aside + run.from, run.length))
			region->aside_lost = true;
		return ENOMEM;
	}
	if (!region_open_view(region, region->aside + run.from, run.length))
		return ENOMEM;
	if (!region_map_memory(region, run.from, run.length))
		return ENOMEM;
	if (!region_hide_zeros(region, home, run.length))
		region->doubt = true;
	region_discard_mark(region, run.from, run.length);
	run.kind = REGION_MEMORY;
	region_record(region, run);
	return 0;
}

/* A shared view becomes a private one, as in a freeze, but for good, and by one of several ways. The first leaves the
 * template whole, which needs one more mapping; the second uses it up. */
static int cover_for_good(struct odf_region *region, size_t from, size_t length)
{
	bool aside = false;
	size_t done = 0;
	bool folds;
	int error = 0;

	/* Moves page tables aside, if possible. If that fails home is a shared view as before, at worst without its
	 * page tables. */
	if (region_has_aside(region))
		aside = region_move_aside(region, from, length) == 0;
	/* What was written so far is in the file. Once home is replaced nobody writes to the file there any more. */
	if (!region_template_unfold(region, from + length)) {
		if (aside)
			region_aside_release(region, from, length);
		return region_cover_by_mapping(region, from, length) ? 0 : ENOMEM;
	}
	folds = region_template_folds(region);
	if ((!region->in_place || from == region->template_first) && region->chunk == 0 && !region->shed &&
	    sys_call3(SYS_madvise, region->template + from, length, MADV_DONTNEED) == 0 &&
	    region_move(region->template + from, region->home + from, length, true) == 0) {
		done = length;
		region_show_in_dumps(region, from, length);
		region_mark_for_dumps(region, from, length);
		region_template_fold(region, region->template_end, 0);
	} else {
		error = region_cover(region, from, length, &done);
		/* The template is unmapped as a whole later, so no other mapping may come to lie in it. */
		if (done > 0 && !region->shed && !folds && !region_reserve_again(region->template + from, done))
			region->template_lost = true;
		if (done < length && done > 0)
			region_record(region, (struct region_extent){ .from = from, .length = done,
								      .kind = REGION_ISLAND,
								      .protection = (unsigned char)region->rights });
		region_template_fold(region, from, done);
	}
	if (error != 0 && region_cover_by_mapping(region, from + done, length - done))
		error = 0;
	if (region->in_place && aside)
		region_aside_release(region, from, length);
	else if (!region->in_place)
		region_aside_clear(region, from, length);
	return error;
}

/* The run becomes private, as by a freeze, and for good. */
static int cut_run(struct odf_region *region, struct region_extent run, bool live)
{
	int error = 0;

	if (live) {
		error = cover_for_good(region, run.from, run.length);
		if (error != 0)
			return error;
	} else if (!region->inherited && !region->visible &&
		   sys_call3(SYS_madvise, region->home + run.from, run.length, MADV_DOFORK) < 0) {
		return ENOMEM;
	}
	region_discard_forget(region, run.from, run.length);
	run.kind = REGION_ISLAND;
	run.stale = false;
	region_record(region, run);
	region->vacant = false; /* children inherit islands at any time: before the file is punched there the keeper
	                           asks for descendants again */
	return error;
}

int region_for_runs(struct odf_region *region, size_t from, size_t length, unsigned kinds,
		    region_run_function *function)
{
	size_t limit = from + length;
	int error = 0;

	for (size_t at = from; at < limit && error == 0;) {
		struct region_extent run = region_run_at(region, at, limit);
		size_t end = at + run.length;
		bool live = region_is_live(region, at, &end);
		run.length = end - at;
		if (kinds & 1u << run.kind)
			error = region_has_room(region) ? function(region, run, live) : ENOMEM;
		/* FROZEN memory has a view at aside, which is not needed for a run that is no longer memory. */
		if (error == 0 && region->in_place && run.kind == REGION_MEMORY && !live && !region->inherited &&
		    !region->left && region_run_at(region, at, end).kind != REGION_MEMORY)
			region_aside_release(region, run.from, run.length);
		at = end;
	}
	return error;
}

/* Like take_run; but if the file has pages there that only a settle may remove, the hole becomes an island at once. */
static int take_run_now(struct odf_region *region, struct region_extent run, bool live)
{
	int error = take_run(region, run, live);

	if (error != EAGAIN)
		return error;
	if (!region_map_memory(region, run.from, run.length))
		return ENOMEM;
	run.kind = REGION_ISLAND;
	run.stale = false;
	run.protection = (unsigned char)region->rights;
	run.advice = 0;
	region_record(region, run);
	return 0;
}

/* A hole is handed out only if the program has mapped nothing there. If the kernel's list is only available as text,
 * the hole is not verified: that would take longer than all the rest, and only a raw system call at an address that is
 * not the program's puts anything there. */
static int verify_holes(struct odf_region *region, size_t from, size_t length)
{
	bool changed = false;
	int error = region_maps_are_quick() ? region_verify_now(region, from, length, &changed) : 0;

	return error == 0 && changed ? EAGAIN : error;
}

int region_take_now(struct odf_region *region, size_t from, size_t length)
{
	int error = verify_holes(region, from, length);

	return error != 0 ? error : region_for_runs(region, from, length, 1u << REGION_HOLE, take_run_now);
}

int region_give(struct odf_region *region, size_t from, size_t length)
{
	unsigned kinds = 1u << REGION_MEMORY | 1u << REGION_ISLAND;
	int error = region_for_runs(region, from, length, kinds, give_run);

	if (error != EAGAIN)
		return error;
	(void)region_check(region, from, length);
	region->gaps_seen = true; /* gaps that the check could not find are unmapped as well */
	error = region_for_runs(region, from, length, kinds, give_run);
	region->gaps_seen = false;
	return error;
}

int region_reclaim(struct odf_region *region, size_t from, size_t length)
{
	return region_for_runs(region, from, length, 1u << REGION_FOREIGN, reclaim_run);
}

int region_take(struct odf_region *region, size_t from, size_t length)
{
	int error = verify_holes(region, from, length);

	return error != 0 ? error : region_for_runs(region, from, length, 1u << REGION_HOLE, take_run);
}

int region_cut_known(struct odf_region *region, size_t from, size_t length)
{
	return region_for_runs(region, from, length, 1u << REGION_MEMORY, cut_run);
}

int region_cut(struct odf_region *region, size_t from, size_t length)
{
	bool changed;
	int error = region_verify_now(region, from, length, &changed);

	if (error == 0 && changed)
		error = EAGAIN;
	return error != 0 ? error : region_cut_known(region, from, length);
}

int region_clean(struct odf_region *region, const struct region_extent *extent, size_t at, size_t limit, size_t *end)
{
	struct region_extent run = *extent;
	size_t length = limit - at < CLEAN_SLICE ? limit - at : CLEAN_SLICE;

	if (!region_has_room(region) || !region_punch(region, at, length))
		return ENOMEM;
	/* The hole becomes a view without rights again. If the kernel has unmapped the place before it failed, it is
	 * reserved again, if possible. */
	if (run.kind == REGION_HOLE && !region_map_view(region, region->home + at, at, length)) {
		if (!region_is_mapped(region->home + at, length))
			(void)region_reserve_again(region->home + at, length);
		return ENOMEM;
	}
	run.from = at;
	run.length = length;
	run.stale = false;
	region_record(region, run);
	*end = at + length;
	return 0;
}
