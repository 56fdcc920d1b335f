/* SPDX-License-Identifier: MIT
 *
 * A region in place. Its home is a window on addresses that the kernel gives to the program, and the offset in the file
 * is the address in the window. Nothing is reserved there. The program's mappings lie where the kernel puts them, as
 * anonymous memory, at its full speed and with its large pages; the list of extents calls that young.
 *
 * A freeze makes it memory of the region ("adopts" it): a view of the file is mapped at aside, and the place is marked
 * as discarded, which says that the file has no page there and that the pages at home are the process's own (invariant
 * 6). The fork that follows copies its page tables, as without a region. The next settle merges its pages into the file
 * by the steps that it makes in any case, beside a running program. From then on it is memory like any other.
 *
 * Young memory that has grown old before the first fork is taken in by the keeper, by such steps, while all is LIVE and
 * without a freeze (aging.c). If nothing can settle beside the program, memory is taken before its first use
 * ("overlaid"): a view of the file is mapped over it at once.
 *
 * Under the lock; async-signal-safe.
 */
#include <errno.h>

#include "../sys/trace.h"
#include "internal.h"

/* A smaller run costs each freeze more than it saves the fork. A run next to memory may have any size. */
#define ADOPT_LEAST ((size_t)64 << 10)
/* A freeze walks the list. Once it has so many extents, runs that would not be adopted as they are stay out of it. */
#define EXTENTS_OF_SMALL 1024

bool region_is_in_place(const struct odf_region *region)
{
	return region->in_place;
}

int region_rights(const struct odf_region *region)
{
	return region->rights;
}

static bool is_part_of_more(const struct odf_region *region, size_t at, int protection)
{
	struct region_extent run;

	if (at >= region->capacity)
		return false;
	run = region_run_at(region, at, at + REGION_PAGE);
	return run.kind == REGION_MEMORY || (run.kind == REGION_FOREIGN && run.young && run.protection == protection);
}

static bool is_too_small(const struct odf_region *region, const struct region_extent *run, int protection)
{
	return run->length < ADOPT_LEAST && region->extents->count > EXTENTS_OF_SMALL &&
	       !is_part_of_more(region, run->from + run->length, protection) &&
	       (run->from == 0 || !is_part_of_more(region, run->from - REGION_PAGE, protection));
}

/* Drops what is left at `at` of a larger young run that has been trimmed, if it is too small now. */
static void drop_too_small(struct odf_region *region, size_t at)
{
	size_t end;
	const struct region_extent *extent = NULL;
	struct region_extent run;

	if (at < region->capacity)
		extent = region_extent_at(region, at, at + REGION_PAGE, &end);
	if (extent == NULL || extent->kind != REGION_FOREIGN || !extent->young)
		return;
	run = *extent;
	if (!is_too_small(region, &run, run.protection) || !region_has_room(region))
		return;
	run.young = false;
	run.protection = 0;
	region_record(region, run);
}

/* For each foreign run of the range, as far as there is room in the list. */
static void set_young(struct odf_region *region, size_t from, size_t length, bool young, int protection)
{
	size_t limit = from + length;

	for (size_t at = from; at < limit;) {
		struct region_extent run = region_run_at(region, at, limit);
		at += run.length;
		if (run.kind != REGION_FOREIGN || run.sealed || (!young && !run.young))
			continue;
		if (young && !run.young && is_too_small(region, &run, protection))
			continue;
		run.young = young;
		run.protection = (unsigned char)protection;
		run.advice = 0;
		if (young && run.from < atomic_load_explicit(&region->reach, memory_order_relaxed)) {
			atomic_store_explicit(&region->reach, run.from, memory_order_relaxed);
			if (run.from < region->source_from)
				atomic_store(&region_reach_wanted, true);
		}
		if (region_has_room(region))
			region_record(region, run);
		else if (!young)
			region->no_young = true; /* the list calls memory young that no longer is */
		region->has_young = region->has_young || young;
		region->young_waits = region->young_waits || young;
	}
	if (!young && region->extents->count > EXTENTS_OF_SMALL) {
		drop_too_small(region, limit);
		if (from > 0)
			drop_too_small(region, from - REGION_PAGE);
	}
}

void region_note_young(struct odf_region *region, size_t from, size_t length, int protection)
{
	if (region->in_place && !region->left && !region->inherited)
		set_young(region, from, length, true, protection);
}

void region_forget_young(struct odf_region *region, size_t from, size_t length)
{
	if (region->in_place && region->has_young)
		set_young(region, from, length, false, 0);
}

void region_note_young_as_it_is(struct odf_region *region, size_t from, size_t length)
{
	char *at = region->home + from, *end = at + length;
	struct region_mapping mapping;
	struct region_maps maps;

	if (!region->in_place || region->left || region->inherited || region_maps_begin(&maps) != 0)
		return;
	for (; at < end && region_maps_find(&maps, at, &mapping) == 0 && mapping.start < end; at = mapping.end) {
		char *start = mapping.start > at ? mapping.start : at, *stop = mapping.end < end ? mapping.end : end;
		if (mapping.inode == 0 && mapping.device == 0 && !mapping.shared)
			region_note_young(region, (size_t)(start - region->home), (size_t)(stop - start),
					  mapping.protection);
	}
	region_maps_end(&maps);
}

size_t region_bytes_with(char *start, size_t length, int rights)
{
	char *at = start, *end = start + length;
	struct region_mapping mapping;
	struct region_maps maps;
	size_t bytes = 0;

	if (region_maps_begin(&maps) != 0)
		return 0;
	for (; at < end && region_maps_find(&maps, at, &mapping) == 0 && mapping.start < end; at = mapping.end)
		if (mapping.inode == 0 && mapping.device == 0 && !mapping.shared && mapping.protection == rights)
			bytes += (size_t)((mapping.end < end ? mapping.end : end) -
					  (mapping.start > at ? mapping.start : at));
	region_maps_end(&maps);
	return bytes;
}

void region_share_young(struct odf_region *region, const struct odf_region *other)
{
	size_t limit = other->capacity;

	for (size_t at = 0; at < limit;) {
		struct region_extent run = region_run_at(other, at, limit);
		char *from = other->home + at, *end = from + run.length, *start = region->home,
		     *stop = start + region->capacity;
		at += run.length;
		from = from > start ? from : start;
		end = end < stop ? end : stop;
		if (run.kind == REGION_FOREIGN && run.young && run.protection == region->rights && from < end)
			region_note_young(region, (size_t)(from - start), (size_t)(end - from), run.protection);
	}
}

bool region_may_be_opened(const struct odf_region *region)
{
	return region->in_place && !region_is_executable(region) &&
	       !atomic_load_explicit(&region->has_islands, memory_order_relaxed);
}

void region_note_opened(struct odf_region *region)
{
	atomic_store(&region->rights_changed, true);
}

/* Asks the kernel for the rights of young memory whose rights, by the list, are not those of the region's memory. */
static void look_at_rights(struct odf_region *region, struct region_maps *maps)
{
	for (size_t at = 0; at < region->capacity;) {
		struct region_extent run = region_run_at(region, at, region->capacity);
		char *from = region->home + run.from, *end = from + run.length;
		struct region_mapping mapping;
		at = run.from + run.length;
		if (run.kind != REGION_FOREIGN || !run.young || run.protection == region->rights)
			continue;
		for (; from < end && region_maps_find(maps, from, &mapping) == 0 && mapping.start < end;
		     from = mapping.end) {
			char *start = mapping.start > from ? mapping.start : from,
			     *stop = mapping.end < end ? mapping.end : end;
			if (mapping.protection != run.protection)
				set_young(region, (size_t)(start - region->home), (size_t)(stop - start), true,
					  mapping.protection);
		}
	}
}

void region_true_rights(struct odf_region *region)
{
	struct region_maps maps;

	if (!region->in_place || region->inherited || region->left || !atomic_exchange(&region->rights_changed, false))
		return;
	if (region_maps_begin(&maps) != 0) {
		atomic_store(&region->rights_changed, true);
		return;
	}
	look_at_rights(region, &maps);
	region_maps_end(&maps);
}

static bool can_be_adopted(const struct odf_region *region, const struct region_extent *extent)
{
	return extent->kind == REGION_FOREIGN && extent->young && extent->protection == region->rights;
}

/* Maps the view of the file at aside, where the settle looks for it. */
static int prepare_aside(struct odf_region *region, const struct region_extent *run)
{
	char *aside = region->aside + run->from;

	if (!region_has_aside(region) || run->from < region->source_from ||
	    !region_aside_take(region, run->from, run->length))
		return ENOMEM;
	if (!region_map_view(region, aside, run->from, run->length)) {
		if (!region_is_mapped(aside, run->length))
			region->aside_lost = true;
		region_aside_release(region, run->from, run->length);
		return ENOMEM;
	}
	if (region_open_view(region, aside, run->length))
		return 0;
	region_aside_release(region, run->from, run->length);
	return ENOMEM;
}

/* It is not young any more in another region with the same addresses, whose memory has other rights. */
static void record_memory(struct odf_region *region, struct region_extent run)
{
	char *start = region->home + run.from, *end = start + run.length;

	region_record(region, run);
	for (struct odf_region *other = region_list; other != NULL; other = other->next) {
		char *limit = other->home + other->capacity, *from = start > other->home ? start : other->home;
		char *to = end < limit ? end : limit;
		if (other != region && from < to)
			region_forget_young(other, (size_t)(from - other->home), (size_t)(to - from));
	}
}

/* Adopts a run of anonymous memory within the FROZEN part. */
static int adopt_run(struct odf_region *region, struct region_extent run)
{
	int error = region_has_room(region) ? prepare_aside(region, &run) : ENOMEM;

	if (error != 0)
		return error;
	region_discard_mark(region, run.from, run.length);
	run.kind = REGION_MEMORY;
	record_memory(region, run);
	return 0;
}

/* How far from `at` on the kernel's mappings are as the list says. 0: not at all; *other: the end of what is not; `at`:
 * not known. */
static size_t true_length(const struct odf_region *region, struct region_maps *maps, size_t at, size_t limit,
			  size_t *other)
{
	size_t end = at;

	*other = limit;
	while (end < limit) {
		struct region_mapping mapping;
		size_t start, next;
		int error = region_maps_find(maps, region->home + end, &mapping);
		if (error != 0) {
			if (error != ENOENT) /* the kernel's list cannot be read */
				*other = at;
			return end - at;
		}
		start = (size_t)(mapping.start - region->home);
		next = (size_t)(mapping.end - region->home);
		if (next > limit)
			next = limit;
		if (mapping.start > region->home + end) {
			*other = start < limit ? start : limit;
			return end - at;
		}
		if (mapping.inode != 0 || mapping.device != 0 || mapping.shared ||
		    mapping.protection != region->rights || region_is_locked(region->home + end, next - end)) {
			*other = next;
			return end - at;
		}
		end = next;
	}
	return end - at;
}

static bool is_memory(const struct odf_region *region, size_t at)
{
	return at < region->capacity && region_run_at(region, at, at + REGION_PAGE).kind == REGION_MEMORY;
}

static bool is_worth_it(const struct odf_region *region, const struct region_extent *extent)
{
	return extent->length >= ADOPT_LEAST || is_memory(region, extent->from + extent->length) ||
	       (extent->from > 0 && is_memory(region, extent->from - REGION_PAGE));
}

bool region_has_to_adopt(const struct odf_region *region)
{
	return region->in_place && region->has_young && !region->no_young &&
	       (region->young_waits || atomic_load_explicit(&region->rights_changed, memory_order_relaxed));
}

size_t region_next_young(const struct odf_region *region, size_t from, size_t *end)
{
	while (from < region->capacity && region->in_place && region->has_young && !region->no_young) {
		struct region_extent run = region_run_at(region, from, region->capacity);
		*end = from + run.length;
		if (can_be_adopted(region, &run) && !run.stale && !run.sealed && is_worth_it(region, &run))
			return from;
		from = *end;
	}
	return region->capacity;
}

int region_begin_adopting(struct odf_region *region, size_t from, size_t *length)
{
	struct region_maps maps;
	size_t end, other;

	if (region->left || region->inherited || region->visible || region->live_length < region->length ||
	    region_has_pending_forks())
		return EAGAIN;
	if (region_next_young(region, from, &end) != from)
		return ENOENT;
	if (!region_has_room(region) || region_maps_begin(&maps) != 0)
		return ENOMEM;
	if (end > from + *length)
		end = from + *length;
	*length = true_length(region, &maps, from, end, &other);
	region_maps_end(&maps);
	if (*length == 0 && other > from) /* a raw system call has put something else there */
		region_forget_young(region, from, other - from);
	if (*length == 0)
		return ENOENT;
	region_discard_mark(region, from, *length); /* the file has no page there */
	return 0;
}

void region_end_adopting(struct odf_region *region, size_t from, size_t length, int error)
{
	struct region_extent run = region_run_at(region, from, from + length);

	if (error != 0) {
		region_discard_forget(region, from, length);
		/* Nobody needs the pages that were merged before it failed. */
		if (!region_punch(region, from, length)) {
			run.stale = true;
			region_record(region, run);
		}
		return;
	}
	run.kind = REGION_MEMORY;
	record_memory(region, run);
	TRACE_3(adopt, region->home + from, length, 1);
}

size_t region_young_bytes(const struct odf_region *region)
{
	struct region_place place = { 0, 0 };
	const struct region_extent *extent;
	size_t young = 0;

	if (!region->in_place || !region->has_young || region->no_young)
		return 0;
	while ((extent = region_extent_next(region->extents, &place)) != NULL)
		if (can_be_adopted(region, extent) && extent->length >= ADOPT_LEAST)
			young += extent->length;
	return young;
}

static void adopt_all(struct odf_region *region, struct region_maps *maps)
{
	bool unfolded = false;
	size_t at = 0;

	while (at < region->capacity) {
		struct region_extent run = region_run_at(region, at, region->capacity);
		size_t length, other;
		at = run.from + run.length;
		if (!can_be_adopted(region, &run) || !is_worth_it(region, &run))
			continue;
		length = true_length(region, maps, run.from, at, &other);
		if (length == 0 && other == run.from) {
			region->young_waits = region->young_missed = true;
			return;
		}
		if (length == 0) { /* a raw system call has put something else there */
			region_forget_young(region, run.from, other - run.from);
			at = other;
			continue;
		}
		at = run.from + length;
		run.length = length;
		/* Once for all runs. If it fails, each run does it for itself. */
		if (!unfolded)
			(void)region_source_unfold(region, region->source_from, region_top(region));
		unfolded = true;
		if (run.from < region->source_from) { /* out of reach; later runs may be within reach */
			region->young_waits = region->young_missed = true;
			continue;
		}
		if (adopt_run(region, run) != 0) {
			region->young_waits = region->young_missed = true; /* the next freeze continues */
			return;
		}
		TRACE_3(adopt, region->home + run.from, run.length, 0);
		region->adopting = true;
	}
}

void region_adopt_young(struct odf_region *region, struct region_maps *maps)
{
	if (atomic_exchange(&region->rights_changed, false))
		look_at_rights(region, maps);
	region->young_waits = region->young_missed = false;
	adopt_all(region, maps);
	region_source_fold(region);
}

static int overlay_live(struct odf_region *region, struct region_extent run)
{
	char *home = region->home + run.from;

	/* A fork under way copies it as anonymous memory; and only a settle removes pages that the file may have
	 * there. */
	if (run.stale || region_has_pending_forks())
		return EAGAIN;
	if (!region_template_reaches(region, run.from, run.from + run.length))
		return ENOMEM;
	if (!region_map_view(region, home, run.from, run.length)) {
		/* The kernel may have unmapped it before it failed. Another thread may have mapped something there
		 * since. */
		if (!region_is_mapped(home, run.length))
			(void)region_map(home, run.length, region->rights,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		return ENOMEM;
	}
	if (region_open_view(region, home, run.length)) {
		region_show_in_dumps(region, run.from, run.length);
		run.kind = REGION_MEMORY;
		record_memory(region, run);
		return 0;
	}
	/* Anonymous again, as the kernel had it; nothing was written there. */
	while (!region_map_zeros(home, run.length, region->rights))
		region_pause_ms(1);
	return ENOMEM;
}

int region_overlay(struct odf_region *region, size_t from, size_t length)
{
	size_t limit = from + length;

	if (!region->in_place || region->left || region->inherited)
		return ENOTSUP;
	for (size_t at = from; at < limit;) {
		struct region_extent run = region_run_at(region, at, limit);
		size_t end = at + run.length;
		bool live = region_is_live(region, at, &end);
		int error = 0;
		run.length = end - at;
		at = end;
		if (run.kind != REGION_FOREIGN || run.sealed)
			continue;
		if (!region_has_room(region))
			return ENOMEM;
		run.protection = (unsigned char)region->rights;
		error = live ? overlay_live(region, run) : adopt_run(region, run);
		if (error != 0)
			return error;
		TRACE_3(adopt, region->home + run.from, run.length, 1);
	}
	return 0;
}
