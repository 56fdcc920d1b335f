/* SPDX-License-Identifier: MIT
 *
 * The list of the parts of home that are not memory of the region (extent.c), and where the LIVE part of home begins
 * and ends. Under the lock; async-signal-safe.
 *
 * The list consists of blocks of a page. An index says which blocks are in use, and in what order. Neither is ever
 * changed where a reader may see it: a change writes the new extents into free blocks, prepares the second index, and
 * publishes it by one store. The index has all that the next change needs, also which blocks are free, so a child that
 * a raw clone makes at any moment has a sound list. A reader without the lock sees one of the two indexes. If two
 * changes are made meanwhile, what it reads may be nonsense, but is always memory of the list.
 */
#include <string.h>

#include "internal.h"

/* A change puts its extents into as few blocks as possible, in equal parts. There may be this many fewer in the end, as
 * two extents may become one at both ends of the recorded run. */
#define JOINS ((size_t)2)
_Static_assert(REGION_BLOCK_LEAST + JOINS == REGION_BLOCK_MOST / 2, "the last of two blocks has so many at least");
_Static_assert(sizeof(struct region_block) <= REGION_PAGE, "a block is a page");

static size_t end_of(const struct region_extent *extent)
{
	return extent->from + extent->length;
}

static struct region_block *block_at(const struct region_extents *extents, size_t place)
{
	return region_block_of(extents, __atomic_load_n(&extents->order[place], __ATOMIC_RELAXED));
}

/* Never more than a block has room for, even if the block is being written. */
static size_t count_of(const struct region_block *block)
{
	size_t count = __atomic_load_n(&block->count, __ATOMIC_RELAXED);

	return count < REGION_BLOCK_MOST ? count : REGION_BLOCK_MOST;
}

static void set_order(struct region_extents *extents, size_t place, size_t number)
{
	__atomic_store_n(&extents->order[place], (unsigned short)number, __ATOMIC_RELAXED);
}

static bool is_before(struct region_place a, struct region_place b)
{
	return a.block < b.block || (a.block == b.block && a.index < b.index);
}

/* ---- Lookup ---- */

/* The first extent that ends after `at`; if none does, the place behind the last one. */
static struct region_place find(const struct region_extents *extents, size_t at)
{
	size_t blocks = __atomic_load_n(&extents->blocks, __ATOMIC_RELAXED), low = 0, high = blocks;
	const struct region_block *block;
	struct region_place place = { 0, 0 };

	while (low < high) { /* how many blocks begin at `at` or before */
		size_t middle = (low + high) / 2;
		if (block_at(extents, middle)->list[0].from > at)
			high = middle;
		else
			low = middle + 1;
	}
	if (low == 0)
		return place;
	place.block = low - 1;
	block = block_at(extents, place.block);
	for (low = 0, high = count_of(block); low < high;) {
		size_t middle = (low + high) / 2;
		if (end_of(&block->list[middle]) > at)
			high = middle;
		else
			low = middle + 1;
	}
	place.index = low;
	if (low == count_of(block))
		place = (struct region_place){ place.block + 1, 0 };
	return place;
}

static const struct region_extent *extent_in(const struct region_extents *extents, struct region_place place)
{
	const struct region_block *block;

	if (place.block >= __atomic_load_n(&extents->blocks, __ATOMIC_RELAXED))
		return NULL;
	block = block_at(extents, place.block);
	return place.index < count_of(block) ? &block->list[place.index] : NULL;
}

const struct region_extent *region_extent_next(const struct region_extents *extents, struct region_place *place)
{
	const struct region_extent *extent = extent_in(extents, *place);

	if (extent == NULL)
		return NULL;
	place->index++;
	if (place->index >= count_of(block_at(extents, place->block)))
		*place = (struct region_place){ place->block + 1, 0 };
	return extent;
}

const struct region_extent *region_extent_before(const struct region_extents *extents, struct region_place *place)
{
	if (place->index == 0) {
		if (place->block == 0)
			return NULL;
		place->block--;
		place->index = count_of(block_at(extents, place->block));
	}
	place->index--;
	return extent_in(extents, *place);
}

struct region_place region_extents_end(const struct region_extents *extents)
{
	return (struct region_place){ extents->blocks, 0 };
}

const struct region_extent *region_extent_at(const struct odf_region *region, size_t at, size_t limit, size_t *end)
{
	const struct region_extents *extents = region->extents;
	const struct region_extent *extent;

	*end = limit;
	extent = extents != NULL ? extent_in(extents, find(extents, at)) : NULL;
	if (extent == NULL)
		return NULL;
	if (extent->from > at) {
		*end = extent->from < limit ? extent->from : limit;
		return NULL;
	}
	*end = end_of(extent) < limit ? end_of(extent) : limit;
	return extent;
}

struct region_extent region_run_at(const struct odf_region *region, size_t at, size_t limit)
{
	size_t end;
	const struct region_extent *extent = region_extent_at(region, at, limit, &end);
	struct region_extent run = { .kind = REGION_MEMORY, .protection = (unsigned char)region->rights };

	if (extent != NULL)
		run = *extent;
	run.from = at;
	run.length = end - at;
	return run;
}

bool region_is_live(const struct odf_region *region, size_t at, size_t *end)
{
	/* from the beginning of the LIVE part, in the circle */
	size_t into = (at + region->length - region->live_from) % region->length;
	bool live = !region->inherited && into < region->live_length;
	size_t rest = region->inherited ? region->length : (live ? region->live_length : region->length) - into;

	if (*end - at > rest)
		*end = at + rest;
	return live;
}

size_t region_find_hole(const struct odf_region *region, size_t length, size_t alignment)
{
	size_t start = 0, end = 0; /* of the run of holes so far */
	struct region_place place = { 0, 0 };
	const struct region_extent *extent;

	while ((extent = region_extent_next(region->extents, &place)) != NULL) {
		size_t limit = end_of(extent), aligned;
		if (extent->kind != REGION_HOLE)
			continue;
		if (extent->from != end)
			start = extent->from;
		end = limit;
		if (extent->stale) { /* a LIVE one waits for a settle to punch it */
			size_t until = limit;
			if (region_is_live(region, extent->from, &until) || until != limit)
				start = end;
		}
		aligned = (size_t)(((uintptr_t)region->home + start + alignment - 1) / alignment * alignment -
				   (uintptr_t)region->home);
		if (end > aligned && end - aligned >= length)
			return aligned;
	}
	return SIZE_MAX;
}

size_t region_piece_count(const struct odf_region *region)
{
	const struct region_extents *extents = region->extents;

	if (extents == NULL)
		return 0;
	return region->in_place ? extents->pieces : extents->count;
}

size_t region_foreign_bytes(const struct odf_region *region)
{
	const struct region_extents *extents = region->extents;
	struct region_place place = { 0, 0 };
	const struct region_extent *extent;
	size_t bytes = 0;

	while (extents != NULL && !region->in_place && (extent = region_extent_next(extents, &place)) != NULL)
		if (extent->kind == REGION_FOREIGN)
			bytes += extent->length;
	return bytes;
}

/* ---- Changing ---- */

/* A change of one run adds at most two extents. Asked before anything is changed. */
bool region_has_room(struct odf_region *region)
{
	return region_makes_room(region, 2);
}

static bool same(const struct region_extent *a, const struct region_extent *b)
{
	return a->kind == b->kind && a->stale == b->stale && a->sealed == b->sealed && a->young == b->young &&
	       ((a->kind != REGION_ISLAND && !a->young) || (a->protection == b->protection && a->advice == b->advice));
}

/* Blocks [from, end) of an index. */
struct part {
	size_t from, end;
};

static size_t extents_in(const struct region_extents *extents, struct part part)
{
	size_t count = 0;

	for (size_t i = part.from; i < part.end; i++)
		count += block_at(extents, i)->count;
	return count;
}

static size_t end_before(const struct region_extents *extents, struct region_place place)
{
	const struct region_extent *extent = region_extent_before(extents, &place);

	return extent != NULL ? end_of(extent) : 0;
}

/* How many extents from `first` to `last`, and `last` itself if there is one, directly follow memory. */
static size_t count_pieces(const struct region_extents *extents, struct region_place first, struct region_place last)
{
	size_t end = end_before(extents, first), pieces = 0;
	const struct region_extent *extent;

	while (is_before(first, last) && (extent = region_extent_next(extents, &first)) != NULL) {
		pieces += extent->from > end;
		end = end_of(extent);
	}
	extent = extent_in(extents, last);
	return pieces + (extent != NULL && extent->from > end);
}

/* The blocks for the extents of a change: as many in each, except for the last one. */
struct output {
	const struct region_extents *extents;
	struct part blocks;
	size_t share;
	struct region_extent *last;
	size_t end, pieces;
};

static struct region_block *block_with_room(struct output *out)
{
	if (block_at(out->extents, out->blocks.from)->count == out->share)
		out->blocks.from++;
	return block_at(out->extents, out->blocks.from);
}

static void append(struct output *out, struct region_extent extent)
{
	out->pieces += extent.from > out->end;
	out->end = end_of(&extent);
	if (out->last != NULL && end_of(out->last) == extent.from && same(out->last, &extent)) {
		out->last->length += extent.length;
	} else {
		struct region_block *block = block_with_room(out);
		out->last = &block->list[block->count];
		*out->last = extent;
		block->count++;
	}
}

/* Appends the extents of the old list in [from, end), which stay as they are. */
static void append_those(struct output *out, const struct region_extents *was, struct region_place from,
			 struct region_place end)
{
	while (is_before(from, end)) {
		const struct region_block *block = block_at(was, from.block);
		size_t limit = from.block < end.block ? block->count : end.index;
		while (from.index < limit) {
			struct region_block *to = block_with_room(out);
			size_t count = limit - from.index, room = out->share - to->count;
			if (count > room)
				count = room;
			memcpy(to->list + to->count, block->list + from.index, count * sizeof to->list[0]);
			to->count += count;
			out->last = &to->list[to->count - 1];
			from.index += count;
		}
		from = (struct region_place){ from.block + 1, 0 };
	}
	if (out->last != NULL)
		out->end = end_of(out->last);
}

/* Makes the new order: the old one, with `count` free blocks in the place of `gone`. The blocks of `gone` are the first
 * to be used again, so that few pages are ever touched. */
static struct part replace_blocks(struct region_extents *is, const struct region_extents *was, struct part gone,
				  size_t count)
{
	size_t unused = was->known - was->blocks, taken = count < unused ? count : unused, known = 0;

	for (size_t i = 0; i < gone.from; i++)
		set_order(is, known++, was->order[i]);
	for (size_t i = 0; i < count; i++)
		set_order(is, known++, i < taken ? was->order[was->blocks + i] : was->known + i - taken);
	for (size_t i = gone.end; i < was->blocks; i++)
		set_order(is, known++, was->order[i]);
	__atomic_store_n(&is->blocks, known, __ATOMIC_RELAXED);
	for (size_t i = gone.from; i < gone.end; i++)
		set_order(is, known++, was->order[i]);
	for (size_t i = was->blocks + taken; i < was->known; i++)
		set_order(is, known++, was->order[i]);
	is->known = known;
	for (size_t i = gone.from; i < gone.from + count; i++)
		block_at(is, i)->count = 0;
	return (struct part){ gone.from, gone.from + count };
}

/* Gives [run.from, + run.length) run's kind. */
void region_record(struct odf_region *region, struct region_extent run)
{
	const struct region_extents *was = region->extents;
	struct region_extents *is = region_extents_other(was);
	size_t end = end_of(&run), most, count;
	struct region_place first = find(was, run.from), past = find(was, end), rest = past;
	const struct region_extent *cut = extent_in(was, first), *after = region_extent_next(was, &rest);
	struct part gone = { first.block, past.block < was->blocks ? past.block + 1 : past.block }, fresh;
	struct output out = { .extents = is, .end = end_before(was, first) };

	if (run.kind == REGION_ISLAND)
		atomic_store_explicit(&region->has_islands, true, memory_order_relaxed);
	if (cut != NULL && cut->from >= run.from)
		cut = NULL;
	/* The last extent of the block before may become one with the new extent. */
	if (first.index == 0 && gone.from > 0)
		gone.from--;
	most = extents_in(was, (struct part){ gone.from, first.block }) + first.index + (cut != NULL) +
	       (run.kind != REGION_MEMORY) + extents_in(was, (struct part){ past.block, gone.end }) - past.index;
	/* Too few extents for a block: it takes in those of a neighbour. */
	if (most < REGION_BLOCK_LEAST + JOINS && gone.end < was->blocks)
		most += block_at(was, gone.end++)->count;
	else if (most < REGION_BLOCK_LEAST + JOINS && gone.from > 0)
		most += block_at(was, --gone.from)->count;
	count = (most + REGION_BLOCK_MOST - 1) / REGION_BLOCK_MOST;
	fresh = replace_blocks(is, was, gone, count);
	out.blocks = fresh;
	out.share = count > 0 ? (most + count - 1) / count : 0;

	append_those(&out, was, (struct region_place){ gone.from, 0 }, first);
	if (cut != NULL) {
		struct region_extent before = *cut;
		before.length = run.from - before.from;
		append(&out, before);
	}
	if (run.kind != REGION_MEMORY)
		append(&out, run);
	if (after != NULL) {
		struct region_extent behind = *after;
		if (behind.from < end) {
			behind.length = end_of(&behind) - end;
			behind.from = end;
		}
		append(&out, behind);
		append_those(&out, was, rest, (struct region_place){ gone.end, 0 });
	}
	is->count = was->count - extents_in(was, gone) + extents_in(is, fresh);
	is->pieces = was->pieces - count_pieces(was, first, past) + out.pieces;
	__atomic_store_n(&region->extents, is, __ATOMIC_RELEASE);
}

/* ---- Other changes ---- */

bool region_forget_unmapped(struct odf_region *region, size_t from, size_t length)
{
	size_t half = region_half(length);

	if (region->extents == NULL || region_is_mapped(region->home + from, length) || !region_has_room(region))
		return false;
	if (length > REGION_PAGE) {
		bool first = region_forget_unmapped(region, from, half),
		     second = region_forget_unmapped(region, from + half, length - half);
		return first || second;
	}
	region_record(region, (struct region_extent){ .from = from, .length = length, .kind = REGION_FOREIGN,
						      .stale = true });
	return true;
}

void region_set_island(struct odf_region *region, size_t from, size_t length, int protection, unsigned advice)
{
	struct region_extent run = region_run_at(region, from, from + length);

	if (run.kind != REGION_ISLAND || run.length != length || !region_has_room(region))
		return;
	run.protection = (unsigned char)protection;
	run.advice = (unsigned char)advice;
	region_record(region, run);
}
