/* SPDX-License-Identifier: MIT
 * Mappings, moves and clocks for the files of this folder. Async-signal-safe. */
#include <errno.h>
#include <time.h>

#include "internal.h"

void *region_map(void *address, size_t size, int protection, int flags, int file, size_t offset)
{
	long result = sys_call6(SYS_mmap, (long)address, (long)size, protection, flags, file, (long)offset);

	if (result < 0 && result >= -4095)
		return NULL;
	if ((flags & MAP_FIXED_NOREPLACE) && (char *)result != address) { /* a kernel before 4.17 takes it for a hint */
		region_unmap((void *)result, size);
		return NULL;
	}
	return (void *)result;
}

void *region_map_own(void *address, size_t size)
{
	void *mapped = region_map(address, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				  -1, 0);

	if (mapped != NULL)
		(void)sys_call3(SYS_madvise, mapped, size, MADV_NOHUGEPAGE); /* EINVAL: the kernel has no large pages */
	return mapped;
}

/* How many slots are tried: each settle takes one and frees another. */
#define BESIDE 8

static size_t slot_size(const struct odf_region *region)
{
	return (region->length + 2 * REGION_PUD) / REGION_PUD * REGION_PUD;
}

static bool meets(const char *a, size_t a_size, const char *b, size_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* A region in place has addresses there at which nothing is mapped most of the time (folded.c): aside, scratch and
 * staging. The kernel does not know of them, and a view that lies there would be taken for one that was left behind. */
static bool is_planned(const struct odf_region *region, const char *slot)
{
	size_t size = slot_size(region);

	return region->in_place && (meets(slot, size, region->aside, region->length) ||
				    meets(slot, size, region->scratch, region->work_size) ||
				    meets(slot, size, region->staging, region->work_size));
}

/* If the kernel chose the place, the mapping would be in the way of the program's own, which are to lie in a window
 * (young.c). */
void *region_map_beside(struct odf_region *region, size_t size, int protection, int flags, int file, size_t offset)
{
	for (size_t i = 0; region->beside != NULL && i < BESIDE; i++) {
		char *slot = region->beside + i * slot_size(region);
		void *mapped;
		if (is_planned(region, slot))
			continue;
		mapped = region_map(slot, size, protection, flags | MAP_FIXED_NOREPLACE, file, offset);
		if (mapped != NULL)
			return mapped;
	}
	return region_map(NULL, size, protection, flags, file, offset);
}

/* A filter may refuse munlock (that of systemd-nspawn does if the container has no right to lock memory), which says
 * nothing about the memory. The second call fails if it is locked. */
bool region_unlock_pages(void *address, size_t size)
{
	return sys_call2(SYS_munlock, address, size) == 0 || sys_call3(SYS_msync, address, size, MS_INVALIDATE) == 0;
}

/* A view that had to move is folded to a page there, and is to unfold there again. */
static bool has_a_view(const struct odf_region *region, const char *slot)
{
	size_t size = slot_size(region), first = region->template_first, from = region->source_from;

	return (region->template != NULL && meets(slot, size, region->template + first, region->length - first)) ||
	       (region->source != NULL && meets(slot, size, region->source + from, region->length - from));
}

char *region_place_beside(struct odf_region *region, bool for_view)
{
	char *place;

	do /* aside meets one slot at most, scratch and staging meet one, each view one: four of five */
		place = region->beside + (3 + region->places++ % (BESIDE - 3)) * slot_size(region);
	while (is_planned(region, place) || (!for_view && has_a_view(region, place)));
	return place;
}

char *region_map_view_beside(struct odf_region *region, int flags, size_t first, size_t end)
{
	char *mapped = NULL;

	/* In one of the first slots, with room behind it to unfold. */
	for (size_t i = 0; region->in_place && mapped == NULL && i < 3; i++)
		mapped = region_map(region->beside + i * slot_size(region) + first, end - first, PROT_NONE,
				    flags | MAP_NORESERVE | MAP_FIXED_NOREPLACE, region->file, first);
	if (mapped == NULL)
		mapped = region_map_beside(region, end - first, PROT_NONE, flags | MAP_NORESERVE, region->file, first);
	return mapped == NULL ? NULL : mapped - first;
}

static void *open_for_use(char *mapped, size_t size, int flags, int rights)
{
	if (mapped == NULL)
		return NULL;
	/* Under mlockall(MCL_FUTURE) the kernel would at once allocate all pages of a sparse file, or copies for a
	 * private view. So the mapping has no rights at first. */
	if (!region_unlock_pages(mapped, size) || sys_call3(SYS_mprotect, mapped, size, rights) < 0) {
		if (!(flags & MAP_FIXED))
			(void)region_unmap(mapped, size);
		return NULL;
	}
	return mapped;
}

void *region_map_file(const struct odf_region *region, void *address, size_t size, int flags, int file, size_t offset)
{
	return open_for_use(region_map(address, size, PROT_NONE, flags | MAP_NORESERVE, file, offset), size, flags,
			    region->rights);
}

char *region_map_file_beside(struct odf_region *region, int flags, size_t first, size_t end)
{
	char *mapped = region_map_view_beside(region, flags, first, end);

	if (mapped == NULL || open_for_use(mapped + first, end - first, flags, region->rights) == NULL)
		return NULL;
	return mapped;
}

int region_unmap(void *address, size_t size)
{
	return (int)sys_call2(SYS_munmap, address, size);
}

int region_move(char *from, char *to, size_t size, bool leave_mapped)
{
	long result = sys_call5(SYS_mremap, from, size, size,
				MREMAP_MAYMOVE | MREMAP_FIXED | (leave_mapped ? MREMAP_DONTUNMAP : 0), to);

	return result < 0 && result >= -4095 ? (int)result : 0;
}

bool region_reserve_again(char *address, size_t size)
{
	/* Again, unless something else is mapped there: to lose a place is expensive. */
	for (unsigned tries = 0;
	     region_map(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
			0) == NULL;
	     tries++)
		if (tries == 2 || region_is_mapped(address, size))
			return false;
	(void)sys_call3(SYS_madvise, address, size, MADV_DONTFORK); /* a child that inherits it only has less room */
	(void)sys_call3(SYS_madvise, address, size, MADV_DONTDUMP);
	return true;
}

bool region_is_mapped(char *address, size_t size)
{
	/* On mapped memory this call does nothing. Any other error, for example of a filter, says nothing about the
	 * mapping. */
	return sys_call3(SYS_msync, address, size, MS_ASYNC) != -ENOMEM;
}

bool region_is_locked(const char *address, size_t size)
{
	/* The kernel refuses to invalidate locked memory; with other memory the call does nothing. A filter could
	 * punish it. */
	return region_is_unfiltered() && sys_call3(SYS_msync, address, size, MS_ASYNC | MS_INVALIDATE) == -EBUSY;
}

/* Whether a move that fails because its source is two mappings has unmapped its destination. Kernels before 6.17 refuse
 * all such moves, and only after they have unmapped; later ones refuse only mappings under userfaultfd, before they
 * unmap. */
static bool refusal_unmaps = true;

bool region_place_after(int error, char *address, size_t size)
{
	if (error == -EFAULT && !refusal_unmaps)
		return true;
	return region_reserve_again(address, size);
}

void region_learn_refusal(void)
{
	char *four = region_map(NULL, 4 * REGION_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (four == NULL)
		return;
	/* Moves two mappings, which differ in their rights, to a place of two pages. */
	if (sys_call3(SYS_mprotect, four, REGION_PAGE, PROT_READ) == 0) {
		int error = region_move(four, four + 2 * REGION_PAGE, 2 * REGION_PAGE, true);
		if (error == 0)
			refusal_unmaps = false;
		else if (error == -EFAULT)
			refusal_unmaps = !region_is_mapped(four + 2 * REGION_PAGE, 2 * REGION_PAGE);
	}
	(void)region_unmap(four, 4 * REGION_PAGE);
}

uint64_t region_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t region_cpu_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void region_pause_ms(unsigned milliseconds)
{
	struct timespec time = { .tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000 };

	(void)sys_call2(SYS_nanosleep, &time, NULL); /* a signal may end it early */
}

int region_pieces(const struct odf_region *region, size_t from, size_t length, struct region_piece pieces[2])
{
	size_t straight = region->length - from;

	if (length == 0)
		return 0;
	pieces[0] = (struct region_piece){ from, length < straight ? length : straight };
	if (length <= straight)
		return 1;
	pieces[1] = (struct region_piece){ 0, length - straight };
	return 2;
}

size_t region_half(size_t length)
{
	size_t unit = length > 2 * REGION_TABLE ? REGION_TABLE : REGION_PAGE;

	return (length / 2 + unit - 1) / unit * unit;
}
