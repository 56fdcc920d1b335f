/* SPDX-License-Identifier: MIT
 *
 * What of home is not memory of the region's: holes, islands, foreign places (internal.h). Under the lock;
 * async-signal-safe.
 *
 * What each is made of:
 *
 *     memory          LIVE a shared view of the file; FROZEN a private one, with zeros laid over what was discarded
 *     hole            a shared view without rights and without pages, which children do not get: memory of it again by
 *                     mprotect
 *     hole, stale     an inaccessible place; the file may have pages there, which a settle punches
 *     island          a private view of the file, or anonymous memory, as the program's calls left it. The file is
 *                     never written there again, so that it takes no part in freezing or settling, and is punched there
 *                     after the program has given it up
 *     foreign         the kernel's and the program's affair
 *
 * What the program or the kernel makes of it past these: extent_lose.c.
 *
 * Everything here is done for one run of one kind that is all LIVE or all FROZEN at a time, and each leaves the list
 * true if it fails.
 */
#include <errno.h>

#include "internal.h"

/* A slice of what is punched at a time: freeing 16 MiB takes a millisecond. */
#define CLEAN_SLICE ((size_t)16 << 20)

/* Anonymous memory at home is the process's own, and shares nothing with anybody. In a window the program may move it
 * away by a call that nobody sees, and it would be hidden from children there for good. */
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
		/* The kernel refuses where the program has taken some of it away. */
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
	(void)sys_call3(SYS_madvise, start, length, MADV_DONTFORK); /* a child that gets it has less room, no more */
	(void)sys_call3(SYS_madvise, start, length, MADV_DONTDUMP);
	return true;
}

/* ---- What is done to one run ---- */

/* The place is the kernel's to give again at once. */
static int unmap_run(struct odf_region *region, struct region_extent run, bool live)
{
	bool stale = true;

	/* A part of it is not there: it may have been moved elsewhere, and is the file's there. */
	if (!region->gaps_seen &&
	    sys_call3(SYS_madvise, region->home + run.from, run.length, MADV_DONTNEED) == -ENOMEM)
		return EAGAIN;
	if (region_unmap(region->home + run.from, run.length) != 0)
		return ENOMEM;
	if (run.kind == REGION_MEMORY && live)
		stale = !region_punch(region, run.from, run.length);
	else
		region_discard_forget(region, run.from, run.length);
	/* What an island shows of the file, children may show as well that a clone past the library has made since
	 * the verdict. */
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
		/* First, as it may fail, and so that nothing is written there any more when the pages go. Whatever is
		 * there goes. */
		bool viewed = region_map_view(region, home, run.from, run.length);
		if (!viewed && region_is_mapped(home, run.length))
			return ENOMEM;
		/* The kernel has unmapped it before it failed. */
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
	/* What an island shows of the file, children may show as well that a clone past the library has made since
	 * the verdict. */
	if (run.kind == REGION_ISLAND)
		region->vacant = false;
	return 0;
}

/* What the program had put there, or the kernel, is to go away. */
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
		/* Nothing is there, or something of the program's. */
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
	/* FROZEN memory has its view of the file at aside, where the settle looks for it. */
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

/* A shared view becomes a private one, as in a freeze, whatever it takes. The template stays whole, which needs a
 * mapping more, and falls back to being used up. */
static int cover_for_good(struct odf_region *region, size_t from, size_t length)
{
	bool aside = false;
	size_t done = 0;
	bool folds;
	int error = 0;

	/* Which saves those page tables that can be saved. Where it is refused home is a shared view as before, at
	 * worst without its page tables. */
	if (region_has_aside(region))
		aside = region_move_aside(region, from, length) == 0;
	/* What is written until now is in the file, and nobody writes there any more. */
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
		/* So that the template can be unmapped as a whole nothing else may come to lie in it. */
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

/* Private from now on, as a freeze makes it, and for good. */
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
	region->vacant = false; /* children get islands at any time, so whoever is to punch there asks again */
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
		/* What is FROZEN has its view at aside, which nobody needs of what is not memory any more. */
		if (error == 0 && region->in_place && run.kind == REGION_MEMORY && !live && !region->inherited &&
		    !region->left && region_run_at(region, at, end).kind != REGION_MEMORY)
			region_aside_release(region, run.from, run.length);
		at = end;
	}
	return error;
}

/* Where the file has pages that only a settle may take, ordinary memory at once. */
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

/* A hole is handed out only if nothing of the program's is there. Where the kernel must be asked by text this is not
 * done: it would take longer than all else, for what takes a system call past the library to a place that is
 * nobody's. */
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
	region->gaps_seen = true; /* where they cannot be told */
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
	/* Back to a view without rights. Where the kernel has unmapped it before it failed, the place is kept, if it
	 * can be. */
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
