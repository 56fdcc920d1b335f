/* SPDX-License-Identifier: MIT
 *
 * The view of the file from which holes, and memory in their place, are made; and by which its pages are taken. Under
 * the lock; async-signal-safe.
 */
#include <errno.h>

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
	region->source = region_map_beside(region, region->length, PROT_NONE, MAP_SHARED | MAP_NORESERVE, region->file,
					   0);
	if (region->source == NULL || sys_call3(SYS_madvise, region->source, region->length, MADV_DONTFORK) < 0 ||
	    sys_call3(SYS_madvise, region->source, region->length, MADV_DONTDUMP) < 0)
		return ENOMEM;
	/* A filter that the program enters later may punish it for making memory executable, and the keeper is under
	 * none of the program's. */
	if (region_is_executable(region) &&
	    (!region_unlock_pages(region->source, region->length) ||
	     sys_call3(SYS_mprotect, region->source, region->length, region->rights) < 0))
		return EACCES;
	return 0;
}

/* Puts a second view of the file, without rights, in the place of what is there. Like the first it is not in core
 * dumps, as a hole should be. */
bool region_map_view(struct odf_region *region, char *to, size_t from, size_t length)
{
	long result = sys_call5(SYS_mremap, region->source + from, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, to);

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
	char *view = region->source + from;
	long error = sys_call3(SYS_madvise, view, length, MADV_REMOVE);

	if (error != -EACCES)
		return error == 0;
	if (sys_call3(SYS_mprotect, view, length, PROT_READ | PROT_WRITE) == 0)
		error = sys_call3(SYS_madvise, view, length, MADV_REMOVE);
	/* it can fail for want of a mapping only, which the first one has made */
	(void)sys_call3(SYS_mprotect, view, length, PROT_NONE);
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
 * what lies there. It goes with its neighbour; should that fail, with the next one. */
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
