/* SPDX-License-Identifier: MIT
 *
 * Settling, step by step, by the keeper. A step takes the next piece of the circle of FROZEN memory and makes it LIVE:
 *
 *   1. stage    the file's view of the piece, with its page tables, goes from aside to staging. This shows that it is
 *               one mapping, so that the last move cannot stop half-way, with home unmapped.
 *   2. hold     From now on nobody writes to the piece: home is write-protected, or its private pages go to scratch
 *               (hold.c). A program that is quiet needs none of this: its pages stay where they are.
 *   3. merge    private pages are copied to the file; discarded ones are punched out of it (merge.c).
 *   4. return   staging goes home, and the sleepers are woken.
 *
 * If anything fails before 4, it is undone, and the piece is FROZEN as before: the pages that were copied to the file
 * are equal to those at home (invariant 5).
 */
#include <errno.h>

#include "../sys/trace.h"
#include "step.h"

/* Bytes of one look for private pages: it takes the mmap lock, which a fork needs. */
#define LOOK ((size_t)64 << 20)
#define LOOK_NS 200000u
/* If a fork is expected before the end. The fork would hold all threads; a step holds only those that touch its
 * memory. */
#define HURRIED_STEP_PAGES ((size_t)4 * REGION_STEP_PAGES)
/* The cost of emptying a page table, in copied pages. */
#define TABLE_PAGES 4

static void place(const struct odf_region *region, struct step *step)
{
	size_t offset = step->from % region->work_size;

	step->home = region->home + step->from;
	step->aside = region->aside + step->from;
	step->scratch = region->scratch + offset;
	step->staging = region->staging + offset;
}

bool region_fresh_always;

/* A look for private pages of a piece. */
struct look {
	size_t at, end;
	size_t pages; /* the cost of merging those that were found, in copied pages */
	size_t table; /* the last one in which one was found */
	struct step_pages found;
};

/* Looks on until it has found that many, or a bounded time has passed. */
static void look_on(const struct odf_region *region, const struct region_settler *settler, struct look *look,
		    size_t page_limit)
{
	uint64_t start = region_clock();
	struct region_run runs[32];

	while (look->at < look->end && look->pages < page_limit && region_clock() - start < LOOK_NS) {
		size_t stop = look->end - look->at < LOOK ? look->end : look->at + LOOK;
		char *walked;
		long count;
		if (look->at >= region->capacity) { /* beyond the file: without PAGEMAP_SCAN to look at it takes a ms
		                                       for a GiB */
			look->at = look->end;
			break;
		}
		if (stop > region->capacity)
			stop = region->capacity;
		count = region_private(settler->pagemap, region->home + look->at, region->home + stop, true,
				       page_limit - look->pages, runs, 32, &walked);
		if (count < 0)
			break; /* the step will report it */
		for (long i = 0; i < count; i++) {
			size_t table = (size_t)(runs[i].start - region->home) / REGION_TABLE;
			size_t length = (size_t)(runs[i].end - runs[i].start) / REGION_PAGE;
			if (look->found.count == 0)
				look->found.first = (size_t)(runs[i].start - region->home);
			look->found.count += length;
			look->pages += length + (table != look->table ? TABLE_PAGES : 0);
			look->table = table;
		}
		look->at = (size_t)(walked - region->home);
	}
}

/* The length of a step from `from` on: a bounded number of private pages, found in bounded time, at most what one move
 * can take. Without the lock: pages that threads write meanwhile make the step a little longer. */
static size_t choose_length(const struct odf_region *region, const struct region_settler *settler, size_t from,
			    size_t remaining, size_t largest, struct step_haste *haste, struct step_pages *found)
{
	size_t border = (from / region->work_size + 1) * region->work_size;
	size_t most = from + (largest < region->step_most ? largest : region->step_most);
	size_t last = region->length - from < remaining ? region->length : from + remaining;
	size_t page_limit = haste->is_hurried ? HURRIED_STEP_PAGES : REGION_STEP_PAGES;
	bool small = settler->userfault >= 0 || settler->until_ns != 0; /* a thread that touches this memory, or a fork,
	                                                                   waits for the step: it may be less than a
	                                                                   table */
	struct look look = { from, border < most ? border : most, 0, SIZE_MAX, *found };

	if (look.end > last)
		look.end = last;
	look_on(region, settler, &look, page_limit);
	if (haste->is_hurried && haste->may_be_last && look.end == last && look.at < last) {
		struct look further = look;
		look_on(region, settler, &further, STEP_LAST_PAGES);
		haste->may_be_last = further.at == last && further.pages < STEP_LAST_PAGES;
		if (haste->may_be_last)
			look = further;
	}
	*found = look.found;
	/* Where it is all private. */
	if (small && look.pages >= page_limit && look.at - from < REGION_TABLE)
		return look.at - from;
	look.at = look.at / REGION_TABLE * REGION_TABLE;
	if (look.at <= from) { /* the rest of a table at least */
		look.at = (from / REGION_TABLE + 1) * REGION_TABLE;
		look.at = look.at < look.end ? look.at : look.end;
	}
	return look.at - from;
}

/* 1, if there is no time for page tables (struct step): a second mapping of the view at aside. */
static int stage_fresh(struct odf_region *region, struct step *step)
{
	long error = sys_call5(SYS_mremap, step->aside, 0, step->length, MREMAP_MAYMOVE | MREMAP_FIXED, step->staging);

	step->into = step->aside;
	if (error >= 0 || error < -4095)
		return 0;
	(void)step_reserve_or_lose(region, (int)error, step->staging, step->length);
	return (int)-error;
}

static void empty_staging(struct odf_region *region, const struct step *step)
{
	if (region_map(step->staging, step->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		       -1, 0) == NULL)
		(void)step_reserve_or_lose(region, 0, step->staging, step->length);
}

/* 1, for a piece without a view. */
static int stage_new(struct odf_region *region, struct step *step)
{
	step->into = step->staging;
	if (!region_map_view(region, step->staging, step->from, step->length)) {
		(void)step_reserve_or_lose(region, 0, step->staging, step->length);
		return ENOMEM;
	}
	if (region_open_view(region, step->staging, step->length))
		return 0;
	empty_staging(region, step);
	return ENOMEM;
}

/* 1. A piece that turns out to be several mappings is halved: step->length says what was staged. */
static int stage(struct odf_region *region, struct step *step)
{
	if (step->adopts)
		return stage_new(region, step);
	if (step->is_fresh)
		return stage_fresh(region, step);
	step->into = step->staging;
	for (;;) {
		/* In place nothing is kept at aside that is not needed any more. */
		int error = region_move(step->aside, step->staging, step->length, !region->in_place);
		if (error == 0)
			return 0;
		if (step_reserve_or_lose(region, error, step->staging, step->length) != 0 || error != -EFAULT ||
		    step->length == REGION_PAGE)
			return error == -EFAULT ? EIO : -error;
		step->length = region_half(step->length);
	}
}

/* 4. False: refused before anything was changed. Once the kernel has unmapped home the move must succeed, as threads
 * wait or fault in the hole; only a lack of kernel memory can prevent it. */
static bool bring_home(const struct step *step)
{
	(void)sys_call3(SYS_madvise, step->staging, step->length, MADV_DODUMP); /* if it fails, core dumps lack it */
	for (unsigned tries = 0; region_move(step->staging, step->home, step->length, false) != 0; tries++) {
		if (region_is_mapped(step->home, step->length))
			return false;
		if (tries > 100)
			region_pause_ms(1);
	}
	return true;
}

/* If the move back is refused, aside is a view of the file nevertheless, without its page tables. */
static void unstage(struct odf_region *region, struct step *step)
{
	if (step->is_fresh || step->adopts) {
		empty_staging(region, step);
	} else if (region_aside_take(region, step->from, step->length) &&
		   region_move(step->staging, step->aside, step->length, false) == 0) {
		(void)sys_call3(SYS_madvise, step->aside, step->length, MADV_DONTDUMP);
		(void)step_reserve_or_lose(region, 0, step->staging, step->length);
	} else if (region->in_place || !region_is_mapped(step->aside, step->length)) {
		region->aside_lost = true; /* in a region in place nothing, or a place without a view, is left there */
	}
}

int region_verify_as_keeper(struct odf_region *region, size_t from, size_t length)
{
	struct region_maps maps;
	bool changed;
	int error;

	if (region->extents == NULL)
		return 0;
	error = region_maps_begin(&maps);
	if (error != 0) /* the FROZEN pages cannot be found */
		return error;
	error = region_verify(region, &maps, from, length, &changed);
	region_maps_end(&maps);
	return error == 0 && changed ? EAGAIN : error;
}

/* The whole piece becomes LIVE, or none of it. */
static int make_live(struct odf_region *region, const struct region_settler *settler, struct step *step)
{
	bool quiet = settler->userfault < 0;
	uint64_t start;
	int error;

	error = stage(region, step);
	if (error != 0)
		return error;
	/* As late as possible: a staged view can be put back, detached pages come back only with the step. */
	if (!quiet && settler->is_looked_at())
		error = EAGAIN;
	start = region_clock();
	if (!quiet && error == 0)
		error = step_hold(region, settler, step);
	if (error != 0) {
		unstage(region, step);
		return error;
	}
	error = step_merge(region, settler, step, quiet || step->is_protected ? step->home : step->scratch);
	if (error != 0) {
		if (!quiet)
			step_let_go(region, settler, step);
		unstage(region, step);
		return error;
	}
	/* Invariant 3: the view that comes home is hidden from children as it was at staging. */
	if (!bring_home(step)) {
		if (!quiet)
			step_let_go(region, settler, step);
		unstage(region, step);
		return ENOMEM;
	}
	if (!quiet)
		step_wake(settler, step);
	region->counters.last_pause_ns = region_clock() - start;
	if (!region->in_place)
		(void)step_reserve_or_lose(region, 0, step->staging, step->length);
	else if (step->is_fresh)
		region_aside_release(region, step->from, step->length);
	region_discard_forget(region, step->from, step->length);
	if (!step->adopts)
		region->live_length += step->length;
	region->counters.steps++;
	if (region->counters.last_pause_ns > region->counters.longest_pause_ns)
		region->counters.longest_pause_ns = region->counters.last_pause_ns;
	return 0;
}

/* Under the lock. */
static int do_step(struct odf_region *region, const struct region_settler *settler, struct step *step)
{
	bool zeros;
	int error = region->scratch == NULL ? region_work_make(region) : 0;

	if (error != 0)
		return error;
	/* Each run of discarded pages is moved separately: a step of one table has few enough. */
	if (region_discard_run(region, step->from / REGION_PAGE, (step->from + step->length) / REGION_PAGE, &zeros) <
	    (step->from + step->length) / REGION_PAGE && step->length > REGION_TABLE)
		step->length = REGION_TABLE;
	if (!step->adopts)
		error = region_verify_as_keeper(region, step->from, step->length);
	if (error != 0)
		return error;
	place(region, step);
	if (!region_work_take(region, step->from % region->work_size, step->length)) {
		step->scratch = NULL;
		return ENOMEM;
	}
	error = make_live(region, settler, step);
	if (region->in_place && region->lost_count == 0) {
		region_work_release(region, region->staging, error == 0 ? step->length : 0);
		if (settler->userfault < 0 || step->is_protected) /* otherwise the caller does it without the lock */
			region_work_release(region, region->scratch, 0);
	}
	return error;
}
/* All of it is LIVE. */
static void complete(struct odf_region *region)
{
	region->counters.settles++;
	region->settled_ns = region_clock();
	TRACE_4(settle, region->home, region->counters.steps, region->counters.merged_pages,
		region->counters.longest_pause_ns);
	region->adopting = false;
	region->released = region->released_at = 0;
	region->has_discarded = false;
	region->discard_runs = 0;
	if (region->in_place)
		return;
	/* Until the next freeze aside is a reservation only: core dumps would have a view of the file a second time.
	 * The page tables that were left there are freed with it: by calls that take no mmap lock, beside a running
	 * program, that takes three times as long, and a fork waits for these too. */
	if (region_map(region->aside, region->length, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != NULL) {
		(void)sys_call3(SYS_madvise, region->aside, region->length, MADV_DONTFORK);
		(void)sys_call3(SYS_madvise, region->aside, region->length, MADV_DONTDUMP);
	} else if (!region_is_mapped(region->aside, region->length) &&
		   !region_reserve_again(region->aside, region->length)) {
		region->aside_lost = true;
	}
}

/* Passes over extents that are not memory, at the end of the LIVE part, and punches stale ones, for a bounded time. */
static int pass_extents(struct odf_region *region)
{
	uint64_t start = region_clock();

	while (region->live_length < region->length) {
		size_t at = (region->live_from + region->live_length) % region->length,
		       rest = region->length - region->live_length, end;
		size_t limit = rest < region->length - at ? at + rest : region->length;
		const struct region_extent *extent = region_extent_at(region, at, limit, &end);
		int error = 0;
		if (extent != NULL && extent->stale) {
			error = extent->kind == REGION_HOLE ? region_verify_as_keeper(region, at, end - at) : 0;
			if (error == 0)
				error = region_clean(region, extent, at, end, &end);
		}
		if (extent == NULL || error != 0)
			return error;
		region->live_length += end - at;
		if (region_clock() - start > LOOK_NS)
			return 0;
	}
	return 0;
}

int region_settle_begin(struct odf_region *region, uint64_t *epoch)
{
	int error = 0;

	region_lock_as_keeper();
	*epoch = region->epoch;
	if (region_pending_check())
		error = region_give_up(region, ODF_REASON_HEAP_NO_SETTLING);
	if (error != 0 || region->left)
		error = EAGAIN;
	else if (region_has_pending_forks())
		error = EAGAIN;
	else if (region->doubt)
		error = ENOTSUP;
	else if (region->aside_lost)
		error = region_aside_make(region);
	if (error == 0 && !region->vacant)
		error = region_token_ask(region);
	if (error == 0)
		error = region_views_reach(region);
	if (error == 0)
		error = region_template_make(region);
	region_unlock_as_keeper();
	return error;
}

int region_settle(struct odf_region *region, const struct region_settler *settler)
{
	struct region_progress progress;
	struct step_haste haste = { .may_be_last = pace_may_be_last(region) };
	size_t tables = 0, done = 0, bytes = 0;
	uint64_t epoch;
	int error;

	/* A fork that freezes it now comes after this; one that gives it up sets `left` first. */
	if (__atomic_load_n(&region->live_length, __ATOMIC_ACQUIRE) == region->length)
		return region->left ? ENOTSUP : 0;
	if (region->left)
		return ENOTSUP;
	if (settler->pagemap < 0)
		return ENOTSUP;
	error = region_settle_begin(region, &epoch);
	if (error == 0) {
		pace_note_interruption(region);
		tables = pace_count_tables(region);
	}
	while (error == 0 && region->live_length < region->length) {
		struct step step = { 0 };
		struct step_pages private = { 0, SIZE_MAX };
		bool stepped = false;
		uint64_t start = region_clock();
		size_t live = region->live_length, end;
		step.from = (region->live_from + live) % region->length;
		step.is_fresh = pace_wants_fresh(region, settler, tables, tables - done);
		haste.is_hurried = step.is_fresh || pace_is_late(region, settler, tables - done);
		step.length = choose_length(region, settler, step.from, region->length - live,
					    pace_largest_step(region, tables, bytes, step.is_fresh), &haste, &private);
		if (settler->userfault >= 0)
			step_choose_how_to_hold(region, &step, &private);
		region_lock_as_keeper();
		/* Invariants 1 and 3: no fork came while the lock was free. */
		if (region->epoch != epoch || !region->vacant || region->visible || region_has_pending_forks() ||
		    region->aside_lost)
			error = EAGAIN;
		else
			error = pass_extents(region);
		/* The choice was made without the lock and may be outdated. */
		if (error == 0 && region->live_length == live &&
		    region_extent_at(region, step.from, step.from + step.length, &end) == NULL) {
			step.length = end - step.from;
			/* Memory that came while it was FROZEN may lie where the template does not reach. */
			if (!region_template_reaches(region, step.from, end)) {
				error = region_views_reach(region);
				if (error == 0)
					error = region_template_make(region);
			}
			if (error == 0) {
				error = do_step(region, settler, &step);
				stepped = true;
			}
		}
		if (error == 0 && region->live_length == region->length) {
			complete(region);
			pace_note_completion(region);
		}
		/* A step that fails is tried again as a small one. */
		if (error == 0)
			region->step_most = region->step_most < REGION_PUD / 2 ? 2 * region->step_most : REGION_PUD;
		else if (error != EAGAIN)
			region->step_most = REGION_TABLE;
		region_unlock_as_keeper();
		if (stepped && settler->userfault >= 0 && !step.is_protected && region->lost_count == 0)
			step_clear_scratch(region, &step);
		if (region->lost_count > 0)
			step_give_up_places(region);
		progress.step_ns = region_clock() - start;
		progress.is_behind = region->behind > 0;
		if (stepped && error == 0) {
			pace_learn(region, &step, progress.step_ns);
			done += (step.length + REGION_TABLE - 1) / REGION_TABLE;
			done = done < tables ? done : tables; /* parts of tables are steps too */
			bytes += step.length;
		}
		progress.rest_ns = (tables - done) * (step.is_fresh ? region->fresh_table_ns : region->moved_table_ns);
		settler->between_steps(&progress);
		if (error == 0 && stepped && region->live_length < region->length && settler->until_ns != 0 &&
		    region_cpu_clock() >= settler->until_ns)
			error = ETIME;
	}
	return error;
}

/* As above, for a region of which most has no pages. */
#define ADOPT_MOST (8 * REGION_TABLE)

int region_adopt_step(struct odf_region *region, const struct region_settler *settler, size_t from, size_t limit,
		      size_t *next)
{
	struct step step = { .from = from, .adopts = true, .may_protect = true };
	struct step_pages private = { 0, SIZE_MAX };
	struct step_haste none = { 0 };
	int error;

	step.length = choose_length(region, settler, from, limit - from, ADOPT_MOST, &none, &private);
	*next = from + step.length;
	region_lock_as_keeper();
	error = region_views_reach(region);
	if (error == 0)
		error = region_template_make(region); /* it covers the LIVE part */
	if (error == 0)
		error = region_begin_adopting(region, from, &step.length);
	if (error == 0) {
		*next = from + step.length;
		error = do_step(region, settler, &step);
		region_end_adopting(region, from, step.length, error);
	}
	region_unlock_as_keeper();
	if (error == 0)
		*next = from + step.length;
	if (region->lost_count > 0)
		step_give_up_places(region);
	else if (!step.is_protected)
		step_clear_scratch(region, &step);
	return error;
}
