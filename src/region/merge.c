/* SPDX-License-Identifier: MIT
 *
 * Step 3 of settling (settle.c), by the keeper under the lock: copies the private pages of a piece to the file, and
 * punches discarded pages out of it.
 */
#include <errno.h>
#include <string.h>

#include "step.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* From so many bytes on the two calls pay off. */
#define LONG_ENOUGH ((size_t)16 << 10)

/* After so many faults in a row the memory counts as unreadable. */
#define FAULTS_IN_A_ROW 8

static bool is_zero(const char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, REGION_PAGE - 1) == 0;
}

static bool write_to_file(const struct odf_region *region, size_t at, const char *from, size_t length)
{
	return sys_call4(SYS_pwrite64, region->file, from, length, at) == (long)length;
}

/* The length of the pages at `from` that are all zeros, or of those that all are not. */
static size_t alike(const char *from, size_t size, bool zeros)
{
	size_t length = 0;

	while (length < size && is_zero(from + length) == zeros)
		length += REGION_PAGE;
	return length;
}

/* Overwrites the file's pages with zeros. Page by page: to look for the next hole takes the longer the more data there
 * is, up to the end of the file. */
static void write_zeros(const struct odf_region *region, size_t from, char *to, size_t size)
{
	for (size_t at = from, end = from + size; at < end; at += REGION_PAGE) {
		long data = sys_call3(SYS_lseek, region->file, at, SEEK_DATA);
		if (data == -ENXIO || data >= (long)end)
			return;
		at = data < 0 ? at : (size_t)data;
		memset(to + (at - from), 0, REGION_PAGE);
	}
}

/* Punches the file at `offset` of the piece, so that it reads as zeros. False: refused. A thread that reads at home
 * meanwhile may have the kernel's zero page there: the punch unmaps that from home a moment before it removes the
 * file's page, and in between the thread would get the file's page. So that is overwritten with zeros first. */
static bool give_back(const struct odf_region *region, const struct step *step, size_t offset, size_t size)
{
	if (step->is_protected)
		write_zeros(region, step->from + offset, step->into + offset, size);
	return sys_call3(SYS_madvise, step->into + offset, size, MADV_REMOVE) >= 0;
}

/* Copies pages that are not zeros, from `from` on: as many as are all holes in the file, or all not. Returns how many
 * bytes. */
static size_t merge_data(const struct odf_region *region, const struct step *step, const char *from, size_t offset,
			 size_t length)
{
	size_t page = (step->from + offset) / REGION_PAGE;
	static atomic_bool maps_none; /* Linux before 5.14 cannot map them: the program has a fault for each page */
	char *to = step->into + offset;
	bool is_hole;

	/* By a write, without page tables, which the kernel would have to free again. */
	if (step->is_fresh && write_to_file(region, step->from + offset, from, length))
		return length;
	length = (region_discard_run(region, page, page + length / REGION_PAGE, &is_hole) - page) * REGION_PAGE;
	/* The write allocates pages that the file lacks without faults, and without clearing them first. Then one call
	 * maps them for the program, to which this view goes. */
	if (is_hole && length >= LONG_ENOUGH && !atomic_load_explicit(&maps_none, memory_order_relaxed) &&
	    write_to_file(region, step->from + offset, from, length)) {
		if (sys_call3(SYS_madvise, to, length, MADV_POPULATE_READ) == -EINVAL)
			atomic_store_explicit(&maps_none, true, memory_order_relaxed);
	} else {
		memcpy(to, from, length);
	}
	return length;
}

/* The caller has made sure that no descendant is left (invariant 1). Pages of zeros are punched out of the file; if
 * that fails, zeros are written. */
static void merge_run(const struct odf_region *region, const struct step *step, const char *from, size_t offset,
		      size_t size)
{
	char *to = step->into + offset;

	for (size_t at = 0; at < size;) {
		size_t zeros = alike(from + at, size - at, true), length;
		if (zeros > 0 && !give_back(region, step, offset + at, zeros))
			memset(to + at, 0, zeros);
		at += zeros;
		length = alike(from + at, size - at, false);
		if (length > 0)
			length = merge_data(region, step, from + at, offset + at, length);
		at += length;
	}
}

size_t step_within_file(const struct odf_region *region, const struct step *step)
{
	size_t end = step->from + step->length;

	if (end <= region->capacity)
		return step->length;
	return step->from < region->capacity ? region->capacity - step->from : 0;
}

static int merge_all(struct odf_region *region, const struct region_settler *settler, const struct step *step,
		     const char *source)
{
	size_t size = step_within_file(region, step), page = step->from / REGION_PAGE, end = page + size / REGION_PAGE;
	struct region_run *runs = settler->desk->runs;
	char *at = (char *)(uintptr_t)source, *stop = at + size;

	while (page < end) { /* discarded pages first: a page that was written since is private */
		bool discarded;
		size_t next = region_discard_run(region, page, end, &discarded);
		size_t offset = page * REGION_PAGE - step->from, length = (next - page) * REGION_PAGE;
		if (discarded && !give_back(region, step, offset, length))
			memset(step->into + offset, 0, length);
		page = next;
	}
	while (at < stop) {
		long count = step_private(settler, step, at, stop, &at);
		if (count < 0)
			return (int)-count;
		for (long i = 0; i < count; i++) {
			size_t length = (size_t)(runs[i].end - runs[i].start);
			merge_run(region, step, runs[i].start, (size_t)(runs[i].start - source), length);
			region->counters.merged_pages += length / REGION_PAGE;
		}
	}
	return 0;
}

struct merging {
	struct odf_region *region;
	const struct region_settler *settler;
	const struct step *step;
	const char *source;
};

static int merge(void *merging_pointer)
{
	const struct merging *merging = merging_pointer;

	return merge_all(merging->region, merging->settler, merging->step, merging->source);
}

int step_merge(struct odf_region *region, const struct region_settler *settler, const struct step *step,
	       const char *source)
{
	struct merging merging = { region, settler, step, source };
	static unsigned faults;
	int error = keeper_try(merge, &merging);

	faults = error == EFAULT ? faults + 1 : 0;
	return error == EFAULT && faults % FAULTS_IN_A_ROW != 0 ? EAGAIN : error;
}
