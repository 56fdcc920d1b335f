/* SPDX-License-Identifier: MIT
 *
 * The source: a view of the file. Holes, and memory in their place, are copies of this mapping, and pages of the file
 * are removed through it. Under the lock; async-signal-safe.
 */
#include <errno.h>
#include <fcntl.h>

#include "internal.h"

/* A move to aside is possible. If aside is lost, the keeper makes a new one. */
bool region_has_aside(struct odf_region *region)
{
	if (region->aside_lost)
		region_keeper_call();
	return !region->aside_lost;
}

int region_source_make(struct odf_region *region)
{
	size_t first = 0, end = region->length, length;
	char *view, *source;

	/* One page, below all memory if there is room (folded.c), at the start of a table: remove_beyond may go down to
	 * there. */
	if (region->in_place) {
		first = atomic_load_explicit(&region->reach, memory_order_relaxed);
		first = first > 0 ? (first - REGION_PAGE) / REGION_TABLE * REGION_TABLE : 0;
		end = first + REGION_PAGE;
	}
	length = end - first;
	source = region_map_view_beside(region, MAP_SHARED, first, end);
	if (source == NULL)
		return ENOMEM;
	view = source + first;
	if (sys_call3(SYS_madvise, view, length, MADV_DONTFORK) < 0 ||
	    sys_call3(SYS_madvise, view, length, MADV_DONTDUMP) < 0) {
		(void)region_unmap(view, length);
		return ENOMEM;
	}
	/* A filter that the program enters later may kill for a call that makes memory executable. The keeper, which is
	 * under none of the program's filters, makes this view executable in advance. */
	if (region_is_executable(region) &&
	    (!region_unlock_pages(view, length) || sys_call3(SYS_mprotect, view, length, region->rights) < 0)) {
		(void)region_unmap(view, length);
		return EACCES;
	}
	if (region->source != NULL)
		region_source_drop(region);
	region->source = source;
	region->source_from = first;
	region->source_end = end;
	return 0;
}

/* Replaces what is mapped at `to` by another view of the file, without rights. Like the source it is not in core dumps,
 * as a hole should not be. */
bool region_map_view(struct odf_region *region, char *to, size_t from, size_t length)
{
	bool was_folded = region->in_place && region->source_end < from + length;
	long result;

	if (!region_source_unfold(region, from, from + length))
		return false;
	result = sys_call5(SYS_mremap, region->source + from, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (was_folded)
		region_source_fold(region);
	return result >= 0 || result < -4095;
}

bool region_open_view(const struct odf_region *region, char *view, size_t length)
{
	return region_is_executable(region) || sys_call3(SYS_mprotect, view, length, region->rights) == 0;
}

bool region_is_executable(const struct odf_region *region)
{
	return (region->rights & PROT_EXEC) != 0;
}

bool region_map_memory(const struct odf_region *region, size_t from, size_t length)
{
	return (!region_is_executable(region) || region_is_unfiltered()) &&
	       region_map_zeros(region->home + from, length, region->rights);
}

/* Through the source, as another file may be mapped at home. Before Linux 6.7 that must be writable, and is for a
 * moment only: in a locked mapping the kernel would make all pages. */
static bool remove_pages(struct odf_region *region, size_t from, size_t length)
{
	bool was_folded = region->in_place && region->source_end < from + length;
	char *view;
	long error;

	/* The keeper has the file and needs no view, which would be address space that the program sees. */
	if (region->in_place && region->file >= 0 && region_lock_is_keepers())
		return sys_call4(SYS_fallocate, region->file, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, from,
				 length) == 0;
	if (!region_source_unfold(region, from, from + length))
		return false;
	view = region->source + from;
	error = sys_call3(SYS_madvise, view, length, MADV_REMOVE);
	if (error == -EACCES) {
		if (sys_call3(SYS_mprotect, view, length, PROT_READ | PROT_WRITE) == 0)
			error = sys_call3(SYS_madvise, view, length, MADV_REMOVE);
		/* it could fail only for lack of a mapping, which the first mprotect has made */
		(void)sys_call3(SYS_mprotect, view, length, PROT_NONE);
	}
	if (was_folded)
		region_source_fold(region);
	return error == 0;
}

/* No process needs the file's pages there. */
static bool has_no_memory(const struct odf_region *region, size_t at, size_t limit, size_t *end)
{
	const struct region_extent *extent = region_extent_at(region, at, limit, end);

	return extent != NULL && !extent->stale && !extent->sealed &&
	       (extent->kind == REGION_HOLE || extent->kind == REGION_FOREIGN);
}

/* A large page reaches beyond the memory that was first written in it, to where the region has none: nobody gives back
 * what lies there. The part beyond is removed together with the memory before it, or, if that fails, with the memory
 * after it. */
static void remove_beyond(struct odf_region *region, size_t from, size_t end)
{
	size_t low = from / REGION_TABLE * REGION_TABLE, high = (end + REGION_TABLE - 1) / REGION_TABLE * REGION_TABLE;
	size_t first = low, last = end, next;

	for (size_t at = low; at < from; at = next)
		if (!has_no_memory(region, at, from, &next))
			first = next;
	if (high > region->length)
		high = region->length;
	while (last < high && has_no_memory(region, last, high, &next))
		last = next;
	if (first < from)
		(void)remove_pages(region, first, from - first);
	if (last > end)
		(void)remove_pages(region, end, last - end);
}

bool region_punch(struct odf_region *region, size_t from, size_t length)
{
	if (!remove_pages(region, from, length))
		return false;
	if (region->extents != NULL && region_files_are_large())
		remove_beyond(region, from, from + length);
	return true;
}
