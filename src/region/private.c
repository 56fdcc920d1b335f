/* SPDX-License-Identifier: MIT
 *
 * Which pages of a private view are the process's own. By PAGEMAP_SCAN (Linux 6.7) if the kernel has it, otherwise by
 * /proc/self/pagemap, whose bit 61 ("page of a file or shared") is from Linux 3.5. A page that is swapped out counts.
 * Under write protection (hold.c) both report the kernel's markers as swapped pages, and only the entries of pagemap
 * distinguish them.
 */
#include <errno.h>
#include <linux/types.h>
#include <sys/ioctl.h>

#include "../sys/proc.h"
#include "internal.h"

/* From linux/fs.h, which older headers lack. */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_argument {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask,
		category_anyof_mask, return_mask;
};
_Static_assert(sizeof(struct scan_region) == 24 && sizeof(struct scan_argument) == 96,
	       "as the kernel has them: of another size they are another request, refused as by an old kernel");
#define SCAN             _IOWR('f', 16, struct scan_argument)
#define SCAN_IS_FILE     (1u << 2)
#define SCAN_IS_PRESENT  (1u << 3)
#define SCAN_IS_SWAPPED  (1u << 4)
#define SCAN_IS_ZEROS    (1u << 5)

/* What the kernel has stored in place of an absent page, if this process may see it. */
#define ENTRY_NOTE      ((1ull << 55) - 1)
#define ENTRY_PROTECTED (1ull << 57)
#define ENTRY_ONES    (1ull << 56) /* only one process maps it, and it is not the kernel's zero page; Linux 4.2 */
#define ENTRY_FILE    (1ull << 61)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_PRESENT (1ull << 63)

#define SCAN_RUNS 64

static long scan(int pagemap, char *start, char *end, bool zeros, size_t max_pages, struct region_run *runs,
		 size_t run_count, char **walked)
{
	struct scan_region found[SCAN_RUNS];
	struct scan_argument argument = {
		.size = sizeof argument,
		.start = (uint64_t)(uintptr_t)start,
		.end = (uint64_t)(uintptr_t)end,
		.vec = (uint64_t)(uintptr_t)found,
		.vec_len = run_count < SCAN_RUNS ? run_count : SCAN_RUNS,
		.max_pages = max_pages,
		.category_inverted = SCAN_IS_FILE | (zeros ? 0 : SCAN_IS_ZEROS),
		.category_mask = SCAN_IS_FILE | (zeros ? 0 : SCAN_IS_ZEROS),
		.category_anyof_mask = SCAN_IS_PRESENT | SCAN_IS_SWAPPED,
		.return_mask = SCAN_IS_FILE,
	};
	long count = sys_call3(SYS_ioctl, pagemap, SCAN, &argument);

	if (count < 0)
		return count;
	for (long i = 0; i < count; i++)
		runs[i] = (struct region_run){ (char *)(uintptr_t)found[i].start, (char *)(uintptr_t)found[i].end };
	/* If the vector is full, the walk ends within the run that did not fit. */
	*walked = argument.walk_end > argument.start ? (char *)(uintptr_t)argument.walk_end : end;
	return count;
}

/* `marker`: an entry that is not a page of the process's own; 0: there is none. */
static long read_entries(int pagemap, uint64_t marker, char *start, char *end, bool zeros, size_t max_pages,
			 struct region_run *runs, size_t run_count, char **walked)
{
	uint64_t entries[512];
	size_t pages = 0;
	long count = 0;
	char *at = start;

	while (at < end) {
		size_t wanted = (size_t)(end - at) / REGION_PAGE;
		long got, size = (long)((wanted < 512 ? wanted : 512) * sizeof entries[0]);
		got = sys_call4(SYS_pread64, pagemap, entries, size, (uintptr_t)at / REGION_PAGE * sizeof entries[0]);
		if (got == -EINTR)
			continue;
		if (got < (long)sizeof entries[0])
			return got < 0 ? got : -EIO;
		for (long i = 0; i < got / (long)sizeof entries[0]; i++, at += REGION_PAGE) {
			if (!(entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED)) || (entries[i] & ENTRY_FILE) ||
			    entries[i] == marker ||
			    (!zeros && !(entries[i] & (ENTRY_ONES | ENTRY_SWAPPED))))
				continue;
			if (count > 0 && runs[count - 1].end == at) {
				runs[count - 1].end += REGION_PAGE;
			} else if ((size_t)count == run_count) {
				*walked = at;
				return count;
			} else {
				runs[count++] = (struct region_run){ at, at + REGION_PAGE };
			}
			if (++pages == max_pages) {
				*walked = at + REGION_PAGE;
				return count;
			}
		}
	}
	*walked = end;
	return count;
}

long region_private(int pagemap, char *start, char *end, bool zeros, size_t max_pages, struct region_run *runs,
		    size_t run_count, char **walked)
{
	long count = scan(pagemap, start, end, zeros, max_pages, runs, run_count, walked);

	/* The kernel does not know the request, or a filter refuses it. */
	if (count == -ENOTTY || count == -EINVAL || count == -EPERM || count == -ENOSYS)
		count = read_entries(pagemap, 0, start, end, zeros, max_pages, runs, run_count, walked);
	return count;
}

long region_private_beside(int pagemap, uint64_t marker, char *start, char *end, struct region_run *runs,
			   size_t run_count, char **walked)
{
	return read_entries(pagemap, marker, start, end, true, 0, runs, run_count, walked);
}

uint64_t region_marker(int pagemap, const char *page)
{
	uint64_t at = (uintptr_t)page / REGION_PAGE * sizeof at, entry, kind;

	if (sys_call4(SYS_pread64, pagemap, &entry, sizeof entry, at) != sizeof entry)
		return 0;
	kind = entry & (ENTRY_SWAPPED | ENTRY_PROTECTED | ENTRY_PRESENT);
	return kind == (ENTRY_SWAPPED | ENTRY_PROTECTED) && (entry & ENTRY_NOTE) ? entry : 0;
}

uint64_t region_count_private(const struct odf_region *region, const struct region_settler *settler, uint64_t most)
{
	struct region_run *runs = settler->desk->runs;
	uint64_t pages = 0;

	region_lock_as_keeper();
	for (size_t at = region->live_length, end; at < region->length && pages < most; at = end) {
		size_t from = (region->live_from + at) % region->length, limit = from + (region->length - at), length;
		char *next, *stop;
		if (limit > region->length)
			limit = region->length;
		next = region->home + from;
		if (region_extent_at(region, from, limit, &length) != NULL)
			next = region->home + length;
		/* There is nothing beyond the file, and a look at a GiB of nothing takes a ms without PAGEMAP_SCAN. */
		stop = region->home + (length < region->capacity ? length : region->capacity);
		while (next < stop && pages < most) {
			long count = region_private(settler->pagemap, next, stop, true, most - pages, runs, REGION_RUNS,
						    &next);
			if (count < 0)
				break; /* the settle will report it */
			for (long i = 0; i < count; i++)
				pages += (uint64_t)(runs[i].end - runs[i].start) / REGION_PAGE;
		}
		end = at + (length - from);
	}
	region_unlock_as_keeper();
	return pages;
}

int region_pagemap_open(void)
{
	/* the thread's: a main thread that has ended has no memory */
	return proc_open("/proc/thread-self/pagemap", O_RDONLY);
}

/* Bytes of one look: it takes the mmap lock, which a fork needs. */
#define LOOK ((size_t)64 << 20)

/* Finds the next piece of memory from *at on, and its end. The lock is held for short moments, as a fork may wait for
 * it. */
static bool next_piece(const struct odf_region *region, uint64_t epoch, size_t *at, size_t *end)
{
	bool found = false;

	region_lock_as_keeper();
	while (*at < region->length && !found && region->epoch == epoch) {
		found = region_extent_at(region, *at, region->length, end) == NULL;
		if (!found)
			*at = *end;
	}
	region_unlock_as_keeper();
	if (found && *end - *at > LOOK)
		*end = *at + LOOK;
	return found;
}

bool region_is_unwritten(struct odf_region *region, int pagemap)
{
	uint64_t epoch;
	bool written;

	region_lock_as_keeper();
	epoch = region->epoch;
	written = !region->visible; /* some of it may be LIVE */
	region_unlock_as_keeper();
	for (size_t at = 0, end; !written && next_piece(region, epoch, &at, &end); at = end) {
		struct region_run run;
		char *walked;
		written = region_private(pagemap, region->home + at, region->home + end, true, 1, &run, 1,
					 &walked) != 0;
	}
	return !written && region->epoch == epoch;
}
