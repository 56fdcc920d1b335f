/* SPDX-License-Identifier: MIT
 * On the path of a fork: async-signal-safe, needs no descriptor; four system calls for a LIVE region, none for a FROZEN
 * one. For a region of the heap some more, which unfold its views (folded.c) and compare its list of extents with the
 * kernel's mappings (verify.c). */
#include <errno.h>

#include "../sys/trace.h"
#include "internal.h"

/* How often a call that must not fail for good is repeated. It fails if the kernel lacks memory of its own. */
#define RETRIES 1000

/* After a move to aside has failed: the kernel may have unmapped the place before. Repairs the place, or leaves that to
 * the keeper: a mapping there may be ours, untouched, or one that another thread has made since. */
static void aside_after_failure(struct odf_region *region, int error, char *address, size_t size)
{
	if (!region_place_after(error, address, size))
		region->aside_lost = true;
}

/* Step 1 for one piece. Nothing to undo on failure: home is the shared view as before, at worst without its page
 * tables. */
int region_move_aside(struct odf_region *region, size_t from, size_t size)
{
	size_t done = 0, length = size;

	if (!region_aside_take(region, from, size))
		return ENOMEM;
	while (done < size) {
		char *aside = region->aside + from + done;
		int error = region_move(region->home + from + done, aside, length, true);
		if (error == 0) {
			(void)sys_call3(SYS_madvise, aside, length, MADV_DONTDUMP); /* else core dumps have it twice */
			done += length;
			length = size - done;
			continue;
		}
		aside_after_failure(region, error, aside, length);
		/* Home is more than one mapping there, which is rare, as the kernel merges neighbours: by halves, in
		 * whole tables if it is long. */
		if (error == -EFAULT && length > REGION_PAGE && !region->aside_lost)
			length = region_half(length);
		else
			break;
	}
	/* The moved view stays at aside until the next freeze: home is the same view without its page tables, which is
	 * only slower. Not in a region in place. */
	if (done == size)
		return 0;
	region_aside_release(region, from, size);
	return ENOMEM;
}

/* Step 2 for a part of a piece. Refused before anything is changed, home is LIVE as it was, without its page tables.
 * The source is one mapping without pages, so that once the kernel has unmapped home nothing can fail except its own
 * memory; and then other threads must find home again before anything else happens (invariant 4). */
static int cover_part(struct odf_region *region, size_t from, size_t size)
{
	char *part = region->template + from, *home = region->home + from;

	/* The template must not have a page: one that mlockall made would be outdated. The call fails for locked
	 * memory, and so tells. */
	if (sys_call3(SYS_madvise, part, size, MADV_DONTNEED) < 0 &&
	    (sys_call2(SYS_munlock, part, size) < 0 || sys_call3(SYS_madvise, part, size, MADV_DONTNEED) < 0))
		return ENOMEM;
	for (unsigned tries = 0; region_move(part, home, size, false) != 0; tries++) {
		if (region_is_mapped(home, size))
			return ENOMEM;
		if (tries > RETRIES)
			region_pause_ms(1);
	}
	return 0;
}

/* A former hole, or the template, is not in core dumps yet. If the call fails, it stays so. */
void region_show_in_dumps(const struct odf_region *region, size_t from, size_t size)
{
	if (region->extents != NULL && size > 0)
		(void)sys_call3(SYS_madvise, region->home + from, size, MADV_DODUMP);
}

/* Step 2 for one piece, chunk by chunk. *done: how much was covered; the rest of the piece is LIVE. */
int region_cover(struct odf_region *region, size_t from, size_t size, size_t *done)
{
	int error = 0;

	for (*done = 0; *done < size && error == 0;) {
		size_t part = size - *done,
		       to_border = region->chunk == 0 ? SIZE_MAX : region->chunk - (from + *done) % region->chunk;
		if (part > to_border)
			part = to_border;
		error = cover_part(region, from + *done, part);
		if (error == 0)
			*done += part;
	}
	region_show_in_dumps(region, from, *done);
	region_mark_for_dumps(region, from, *done);
	return error; /* the rest of home is still a shared view, whose page tables stay at aside: slower, but right */
}

/* Unmaps what a freeze has left of the template, so that children do not inherit it. The part that was taken out is
 * elsewhere, and another mapping may lie in its place. */
void region_template_drop(struct odf_region *region)
{
	struct region_piece pieces[2];
	int count = region_pieces(region, (region->template_from + region->template_length) % region->length,
				  region->length - region->template_length, pieces);

	for (int i = 0; i < count && region->template != NULL && !region->template_lost; i++)
		region_template_unmap(region, pieces[i].from, pieces[i].length);
	region->template_length = region->length;
}

/* The kernel's list of mappings, once for all regions: opening it takes as long as freezing one. Opened when first
 * needed. */
struct look {
	struct region_maps maps;
	enum { NOT_OPENED, OPENED, REFUSED } state;
};

/* NULL: it is not available. */
static struct region_maps *maps_of(struct look *look)
{
	if (look->state == NOT_OPENED)
		look->state = region_maps_begin(&look->maps) == 0 ? OPENED : REFUSED;
	return look->state == OPENED ? &look->maps : NULL;
}

/* The mappings may have changed since they were read. */
static void look_again(struct look *look)
{
	if (look->state == OPENED)
		region_maps_again(&look->maps);
}

static void end_looking(struct look *look)
{
	if (look->state == OPENED)
		region_maps_end(&look->maps);
}

/* One piece of the circle: its segments. Extents between them are left alone, and the template there is unmapped. What
 * cannot be frozen stays LIVE. */
static int freeze_piece(struct odf_region *region, struct look *look, struct region_piece piece)
{
	size_t at = piece.from, limit = piece.from + piece.length;

	while (at < limit) {
		size_t end, done;
		bool changed = false, known;
		int error = 0;
		if (region_extent_at(region, at, limit, &end) != NULL) {
			size_t next = end;
			/* all extents up to the next memory */
			while (next < limit && region_extent_at(region, next, limit, &next) != NULL)
				end = next;
			done = end - at;
			if (!region->template_lost)
				region_template_unmap(region, at, done); /* if it fails, an unused mapping stays */
		} else {
			struct region_maps *maps = region->extents != NULL ? maps_of(look) : NULL;
			done = 0;
			error = region_verify(region, maps, at, end - at, &changed);
			if (error == 0 && changed)
				continue;
			/* Memory that has left home may be elsewhere: if it could not be brought back it is not
			 * forgotten. */
			known = error == 0 || maps == NULL;
			if (error == 0)
				error = region_move_aside(region, at, end - at);
			if (error != 0 && known && region_forget_unmapped(region, at, end - at))
				continue;
			if (error == 0) {
				error = region_cover(region, at, end - at, &done);
				if (error != 0)
					region_aside_release(region, at + done, end - at - done);
			}
		}
		at += done;
		region->template_length += done;
		region->live_from = (region->live_from + done) % region->length;
		region->live_length -= done;
		if (error != 0)
			return error;
	}
	return 0;
}

static int freeze_pieces(struct odf_region *region, struct look *look, const struct region_piece pieces[2], int count)
{
	int error = 0;

	look_again(look);
	for (int i = 0; i < count && error == 0; i++)
		error = freeze_piece(region, look, pieces[i]);
	return error; /* the rest of the LIVE part stays LIVE, hidden from children */
}

/* No fork fails for it. */
static void adopt_young(struct odf_region *region, struct look *look)
{
	if (!region_has_to_adopt(region) || maps_of(look) == NULL)
		return;
	look_again(look);
	region_adopt_young(region, &look->maps);
}

void region_is_for_keeper(struct odf_region *region)
{
	region->is_placeholder = true;
}

bool region_is_placeholder(const struct odf_region *region)
{
	return region->is_placeholder;
}

/* It has no memory: a child does not need it. */
bool region_is_empty(const struct odf_region *region)
{
	size_t end;
	const struct region_extent *extent = region_extent_at(region, 0, region->length, &end);

	return region->is_placeholder && region->live_length == region->length && extent != NULL &&
	       extent->kind != REGION_ISLAND && !extent->young && extent->length == region->length;
}

static int freeze(struct odf_region *region, struct look *look)
{
	struct region_piece pieces[2];
	bool cut_short = region->live_length > 0 && region->live_length < region->length;
	bool whole = region->live_length == region->length;
	size_t live = region->live_length;
	uint64_t start;
	int count;

	if (region->inherited || region->left || region_is_empty(region))
		return 0;
	if (region->visible) {
		region->frozen_forks++;
		adopt_young(region, look);
		return 0;
	}
	if (region->aside_lost && region->live_length > 0)
		return ENOMEM; /* the keeper makes it */
	start = region_clock();
	count = region_pieces(region, region->live_from, region->live_length, pieces);
	/* Before a child can have any of it: a settle asks for descendants again before each step. */
	region->epoch++;
	region->vacant = false;
	if (region->template_length == 0) {
		/* A template in chunks is whole and covers the LIVE part. */
		if (count > 0 && region->chunk == 0 && !region_template_unfold(region, region_highest(region)))
			return ENOMEM;
		region->template_from = region->live_from;
	}
	if (freeze_pieces(region, look, pieces, count) != 0)
		return ENOMEM;
	/* What came from the template is visible to children. Invariant 3: the rest becomes so only now, as each page
	 * of it is private; its token was visible all the time (invariant 2). */
	if (whole) {
		region->visible = true;
	} else if (region_show(region) != 0) {
		return ENOMEM;
	}
	if (region->template_length < region->length)
		region_template_drop(region);
	adopt_young(region, look);
	if (count > 0)
		region->counters.freezes++;
	if (cut_short)
		region->counters.interrupted++;
	region->frozen_ns = region_clock();
	region->counters.last_freeze_ns = region->frozen_ns - start;
	TRACE_3(freeze, region->home, live, region->counters.last_freeze_ns);
	return 0;
}

int region_freeze(struct odf_region *region)
{
	struct look look = { .state = NOT_OPENED };
	int error = freeze(region, &look);

	end_looking(&look);
	return error;
}

int region_freeze_all(void)
{
	struct look look = { .state = NOT_OPENED };
	int error = 0;

	region_ask_for_dumps();
	for (struct odf_region *region = region_list; region != NULL && error == 0; region = region->next)
		error = freeze(region, &look);
	end_looking(&look);
	return error;
}
