/* SPDX-License-Identifier: MIT
 *
 * The view of the file from which holes, and memory in their place, are made; and by which its pages are taken. Under
 * the lock; async-signal-safe.
 */
#include <errno.h>
#include <fcntl.h>

#include "internal.h"

/* Something may be moved to aside. Lost, it is made again by the keeper. */
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

	/* A page below all memory, if there is one (folded.c), and below what may go with its neighbour. */
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
	/* A filter that the program enters later may punish it for making memory executable, and the keeper is under
	 * none of the program's. */
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

/* Puts a second view of the file, without rights, in the place of what is there. Like the first it is not in core
 * dumps, as a hole should be. */
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

/* Through a view of our own, as what is at home may be another file's. Before Linux 6.7 it must have rights for it,
 * which it has for this moment only: locked memory would be filled. */
static bool remove_pages(struct odf_region *region, size_t from, size_t length)
{
	bool was_folded = region->in_place && region->source_end < from + length;
	char *view;
	long error;

	/* Who has the file needs no view, which the program would see as address space. */
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
		/* it can fail for want of a mapping only, which the first one has made */
		(void)sys_call3(SYS_mprotect, view, length, PROT_NONE);
	}
	if (was_folded)
		region_source_fold(region);
	return error == 0;
}

/* Nobody needs the file there, in this process or in a child. */
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
