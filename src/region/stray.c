/* SPDX-License-Identifier: MIT
 *
 * Views of a region's file where the library has mapped none: memory that the program has moved out of home, with its
 * page tables, by raw system calls. Such a view becomes ordinary memory where it is, before the file is changed.
 *
 * The keeper does that beside the running program, as a step does: a thread that touches the view sleeps meanwhile. A
 * thread of the program cannot make other threads sleep, so a fork beside other threads leaves it to the keeper. If the
 * keeper has no userfaultfd, or if a call that changes mappings finds such a view, writes of other threads to it during
 * the copy are lost.
 *
 * Under the lock; async-signal-safe.
 */
#include <errno.h>
#include <string.h>

#include "step.h"

bool region_is_view(const struct odf_region *region, const struct region_mapping *mapping)
{
	return mapping->inode == region->view_inode && mapping->device == region->view_device;
}

/* `view` is as large as home. The offset is compared too, as other mappings may lie where a view was used up. */
bool region_is_part_of(const struct odf_region *region, const struct region_mapping *mapping, const char *view)
{
	return view != NULL && mapping->start >= view && mapping->end <= view + region->length &&
	       mapping->offset == (uint64_t)(mapping->start - view);
}

static bool is_astray(const struct odf_region *region, const struct region_mapping *mapping)
{
	const char *const places[] = { region->home, region->aside, region->source, region->template };

	if (!region_is_view(region, mapping))
		return false;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (region_is_part_of(region, mapping, places[i]))
			return false;
	for (unsigned i = 0; i < REGION_OLD_ASIDES; i++)
		if (region_is_part_of(region, mapping, region->old_asides[i]))
			return false;
	/* At scratch and staging a failed step of settling may have left views. */
	return region->scratch == NULL || mapping->end <= region->scratch ||
	       mapping->start >= region->scratch + 2 * region->work_size;
}

/* Pages of zeros are not copied, so that they take no memory at the target. */
static void copy_pages(char *to, const char *from, size_t length)
{
	static const char zeros[REGION_PAGE];

	for (size_t at = 0; at < length; at += REGION_PAGE)
		if (memcmp(from + at, zeros, REGION_PAGE) != 0)
			memcpy(to + at, from + at, REGION_PAGE);
}

struct copying {
	char *to;
	const char *from;
	size_t length;
};

static int copy_tried(void *copying_pointer)
{
	const struct copying *copying = copying_pointer;

	copy_pages(copying->to, copying->from, copying->length);
	return 0;
}

/* The program may unmap it at that moment: EAGAIN, and the next look finds out what is there. A thread of the program
 * is not guarded, as it has no handler of ours. */
static int copy_guarded(char *to, const char *from, size_t length)
{
	struct copying copying = { to, from, length };
	int error = region_own_settler() != NULL ? keeper_try(copy_tried, &copying) : copy_tried(&copying);

	return error == EFAULT ? EAGAIN : error;
}

/* Replaces the mapping at `place` by the copy. Once the kernel has unmapped the place the move is tried again and
 * again. */
static bool bring_in(char *copy, char *place, size_t length)
{
	for (unsigned tries = 0; region_move(copy, place, length, false) != 0; tries++) {
		if (region_is_mapped(place, length) || tries == 1000)
			return false;
		region_pause_ms(1);
	}
	return true;
}

/* `source`: where the bytes can be read. */
static int copy_and_bring_in(char *copy, const char *source, char *place, size_t length, int protection)
{
	int error = copy_guarded(copy, source, length);

	if (error != 0)
		return error;
	if (sys_call3(SYS_mprotect, copy, length, protection) < 0 || !bring_in(copy, place, length))
		return ENOMEM;
	return 0;
}

static int replace_beside(struct odf_region *region, const struct region_settler *settler, char *copy, char *place,
			  size_t length, int protection)
{
	int error = settler->is_looked_at() ? EAGAIN : region_take_aside(region, settler, place, length);

	if (error != 0)
		return error;
	if ((protection & PROT_READ) == 0 && sys_call3(SYS_mprotect, region->scratch, length, PROT_READ) < 0)
		error = ENOMEM;
	else
		error = copy_and_bring_in(copy, region->scratch, place, length, protection);
	if (error != 0 && (protection & PROT_READ) == 0) /* the pages go back with their rights */
		(void)sys_call3(SYS_mprotect, region->scratch, length, protection);
	region_end_aside(region, settler, place, length, error);
	return error;
}

static int replace(char *copy, char *place, size_t length, int protection)
{
	int error;

	if ((protection & PROT_READ) == 0 && sys_call3(SYS_mprotect, place, length, PROT_READ) < 0)
		return ENOMEM;
	error = copy_and_bring_in(copy, place, place, length, protection);
	if (error != 0 && (protection & PROT_READ) == 0)
		(void)sys_call3(SYS_mprotect, place, length, protection);
	return error;
}

static int make_ordinary(struct odf_region *region, const struct region_mapping *mapping)
{
	const struct region_settler *settler = region_own_settler();
	bool beside = settler != NULL && settler->userfault >= 0;
	size_t size = (size_t)(mapping->end - mapping->start), most = beside ? region->work_size : size;
	int error = 0;

	if (settler != NULL && (mapping->protection & PROT_EXEC) && mapping->protection != region->rights)
		return EPERM; /* the keeper may not make that executable */
	for (size_t at = 0, length; at < size && error == 0; at += length) {
		/* The copy must not lie in a gap that the program has made in a window. */
		char *place = mapping->start + at, *copy;
		length = size - at < most ? size - at : most;
		copy = region_map_beside(region, length, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (copy == NULL)
			return ENOMEM;
		error = beside ? replace_beside(region, settler, copy, place, length, mapping->protection)
			       : replace(copy, place, length, mapping->protection);
		if (error != 0)
			(void)region_unmap(copy, length);
	}
	return error;
}

static bool is_left, was_left;

bool region_leave_strays(bool leave)
{
	bool left = was_left;

	is_left = leave;
	was_left = false;
	return left;
}

int region_bring_in_strays(struct odf_region *region, struct region_maps *maps)
{
	struct region_mapping mapping;
	int error = 0;

	for (const char *at = NULL; error == 0; at = mapping.end) {
		error = region_maps_find(maps, at, &mapping);
		if (error != 0 || !is_astray(region, &mapping))
			continue;
		if (is_left && region_own_settler() == NULL && !region_has_one_thread()) {
			was_left = true;
			return EAGAIN;
		}
		error = make_ordinary(region, &mapping);
	}
	return error == ENOENT ? 0 : error;
}

void region_bring_in_stray(odf_region *const regions[], int count, const char *at)
{
	struct region_mapping mapping;
	struct region_maps maps;
	bool found;

	if (!region_is_unfiltered() || region_maps_begin(&maps) != 0)
		return;
	found = region_maps_find(&maps, at, &mapping) == 0 && mapping.start <= at && mapping.inode != 0;
	for (int i = 0; found && i < count; i++)
		if (is_astray(regions[i], &mapping)) {
			(void)make_ordinary(regions[i], &mapping);
			found = false;
		}
	region_maps_end(&maps);
}
