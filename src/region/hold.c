/* SPDX-License-Identifier: MIT
 *
 * While a step merges the private pages of a piece nobody may write to it, in a system call or outside. There are two
 * ways:
 *
 *   protect    Home is write-protected by userfaultfd, and its pages stay where they are. A thread that writes sleeps,
 *              one that reads continues. That matters to a process that reads from outside by /proc/pid/mem or
 *              ptrace: the kernel does not let it wait for a userfaultfd, so its read would fail (EIO). The kernel
 *              notes the protection in page tables, by a marker for each page that is not there, even in memory that
 *              was never touched: 10 us a table, with the time to look through these and to free them. They go away
 *              with home when the step ends, and no child sees them, as home is hidden (invariant 3).
 *   take out   Home's pages are moved to scratch, and home is registered for pages that the file lacks and for those
 *              that it has: a thread that touches the piece sleeps.
 *
 * A marker looks like a page that was swapped out. The two differ in what the kernel has noted there, which pagemap
 * shows only if CAP_SYS_ADMIN was held when it was opened. If it does not show that, and if the kernel cannot protect
 * files (before Linux 5.19) or pages that are not there (before 6.4), pages are taken out. The same if the markers
 * would be most of the work: if a fork is expected and there is little to merge, and in memory that was never written.
 */
#include <errno.h>

#include "../sys/userfault.h"
#include "step.h"

bool region_take_out_always;

int step_reserve_or_lose(struct odf_region *region, int error, char *address, size_t size)
{
	if (region_place_after(error, address, size))
		return 0;
	/* Another's mapping may be there by now: the next step gets new places, once this one has nothing in these any
	 * more. */
	region->lost_count++;
	region->lost_from = address;
	region->lost_size = size;
	return ENOMEM;
}

void step_give_up_places(struct odf_region *region)
{
	char *places[] = { region->scratch, region->staging };

	for (size_t i = 0; i < 2 && region->lost_count == 1; i++) {
		char *start = places[i] + (region->in_place ? region->work_at : 0);
		char *end = start + (region->in_place ? region->work_length : region->work_size);
		if (region->lost_from < start || region->lost_from >= end) {
			(void)region_unmap(start, (size_t)(end - start));
			continue;
		}
		if (region->lost_from > start)
			(void)region_unmap(start, (size_t)(region->lost_from - start));
		if (region->lost_from + region->lost_size < end)
			(void)region_unmap(region->lost_from + region->lost_size,
					   (size_t)(end - region->lost_from) - region->lost_size);
	}
	region->scratch = region->staging = NULL;
	region->lost_count = 0;
}

void step_clear_scratch(struct odf_region *region, const struct step *step)
{
	if (step->scratch == NULL)
		return;
	if (region->in_place) {
		region_work_release(region, region->scratch, 0);
		return;
	}
	if (region_map(step->scratch, step->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		       -1, 0) != NULL ||
	    sys_call3(SYS_madvise, step->scratch, step->length, MADV_DONTNEED) == 0)
		return;
	/* The kernel has unmapped the place before it failed: another's mapping could come to lie there before the next
	 * step uses it. */
	(void)step_reserve_or_lose(region, 0, step->scratch, step->length);
}

void step_wake(const struct region_settler *settler, const struct step *step)
{
	struct uffdio_range range = { .start = (uintptr_t)step->home, .len = step->length };

	(void)sys_call3(SYS_ioctl, settler->userfault, UFFDIO_WAKE, &range); /* fails for a bad range only */
}

/* ---- Protect ---- */

/* The pagemap entry of a page that is protected and not there; 0: it does not differ from those of other pages. It
 * depends on the keeper's rights, which do not change. */
static struct {
	bool known;
	uint64_t marker;
} protection;

void region_hold_forget(void)
{
	protection.known = false;
}

static int register_for_writes(const struct region_settler *settler, char *start, size_t length)
{
	struct uffdio_register request = { .range = { (uintptr_t)start, length }, .mode = UFFDIO_REGISTER_MODE_WP };

	return (int)sys_call3(SYS_ioctl, settler->userfault, UFFDIO_REGISTER, &request);
}

static void unregister(const struct region_settler *settler, char *start, size_t length)
{
	struct uffdio_range range = { (uintptr_t)start, length };
	size_t half = region_half(length);
	long error;

	while ((error = sys_call3(SYS_ioctl, settler->userfault, UFFDIO_UNREGISTER, &range)) == -ENOMEM)
		region_pause_ms(1);
	/* A raw system call has mapped something there that cannot be registered: then the kernel has done nothing. */
	if (error == -EINVAL && length > REGION_PAGE) {
		unregister(settler, start, half);
		unregister(settler, start + half, length - half);
	}
}

/* 0, or minus an errno value: nothing is protected. */
static int protect(const struct region_settler *settler, char *start, size_t length)
{
	struct uffdio_writeprotect request = { .range = { (uintptr_t)start, length },
					       .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int error = register_for_writes(settler, start, length);

	if (error < 0)
		return error;
	while ((error = (int)sys_call3(SYS_ioctl, settler->userfault, UFFDIO_WRITEPROTECT, &request)) == -EAGAIN ||
	       error == -EINTR)
		;
	if (error < 0)
		unregister(settler, start, length);
	return error;
}

/* At scratch, which has no page between two steps. */
static void learn_marker(const struct odf_region *region, const struct region_settler *settler)
{
	char *page = region->scratch + (region->in_place ? region->work_at : 0);

	protection.known = true;
	protection.marker = 0;
	if (protect(settler, page, REGION_PAGE) < 0)
		return;
	protection.marker = region_marker(settler->pagemap, page);
	unregister(settler, page, REGION_PAGE);
}

static bool can_protect(const struct odf_region *region, const struct region_settler *settler)
{
	if (!protection.known)
		learn_marker(region, settler);
	return protection.marker != 0 && !region_take_out_always;
}

/* ---- Take out ---- */

static int take(struct region_desk *desk, size_t size)
{
	desk->taken += size;
	desk->taken_end[desk->taken_count++] = desk->taken;
	return desk->taken_count == REGION_TAKEN_MOST ? E2BIG : 0;
}

/* Puts one page back where it was taken. The place is registered and empty, and a thread that touches it sleeps. */
static void copy_back(const struct region_settler *settler, char *from, char *to)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)to, .src = (uintptr_t)from, .len = REGION_PAGE, .mode = UFFDIO_COPY_MODE_DONTWAKE
	};
	long error;

	/* Memory is short, or the address space changes: neither lasts. After any other error the place is not ours any
	 * more, and there is nothing to put back. */
	while ((error = sys_call3(SYS_ioctl, settler->userfault, UFFDIO_COPY, &copy)) == -ENOMEM || error == -EAGAIN ||
	       error == -EINTR)
		region_pause_ms(1);
}

/* Anonymous memory in a window is hidden from children only while its pages are elsewhere: a child of a raw clone would
 * find zeros there. */
static void hide_zeros(const struct odf_region *region, const struct step *step, int advice)
{
	size_t page = step->from / REGION_PAGE, limit = (step->from + step->length) / REGION_PAGE;
	bool zeros;

	for (size_t end; region->in_place && page < limit; page = end) {
		end = region_discard_run(region, page, limit, &zeros);
		if (zeros) /* if refused, nothing changes */
			(void)sys_call3(SYS_madvise, region->home + page * REGION_PAGE, (end - page) * REGION_PAGE,
					advice);
	}
}

/* Undoes detach. It copies, as moves would need more mappings, of which there may be too few. */
static void attach(struct odf_region *region, const struct region_settler *settler, const struct step *step)
{
	size_t most = step_within_file(region, step), size = settler->desk->taken < most ? settler->desk->taken : most;
	char *at = step->scratch, *end = at + size;

	while (at < end) {
		struct region_run *runs = settler->desk->runs;
		char *start = at;
		long count = region_private(settler->pagemap, start, end, true, 0, runs, REGION_RUNS, &at);
		if (count < 0) { /* not known: copies all of it */
			runs[0] = (struct region_run){ start, end };
			count = 1;
			at = end;
		}
		for (long i = 0; i < count; i++)
			for (char *page = runs[i].start; page < runs[i].end; page += REGION_PAGE)
				copy_back(settler, page, step->home + (page - step->scratch));
	}
	unregister(settler, step->home, step->length);
	step_wake(settler, step);
}

static void put_back(struct odf_region *region, const struct region_settler *settler, const struct step *step)
{
	attach(region, settler, step);
	hide_zeros(region, step, MADV_DOFORK);
}

/* Takes out a run that ends at `end`. It is all a view of the file, or all zeros that were laid over it. */
static int detach_run(struct odf_region *region, const struct region_settler *settler, const struct step *step,
		      size_t end, bool zeros)
{
	struct region_desk *desk = settler->desk;
	struct uffdio_register request = {
		.range = { .start = (uintptr_t)step->home + desk->taken, .len = end - desk->taken },
		.mode = UFFDIO_REGISTER_MODE_MISSING | (zeros ? 0 : UFFDIO_REGISTER_MODE_MINOR),
	};
	size_t length = end - desk->taken;
	int error = (int)sys_call3(SYS_ioctl, settler->userfault, UFFDIO_REGISTER, &request);

	while (error == 0 && desk->taken < end) {
		error = region_move(step->home + desk->taken, step->scratch + desk->taken, length, true);
		if (error == 0) {
			error = -take(desk, length);
			length = end - desk->taken;
			continue;
		}
		if (step_reserve_or_lose(region, error, step->scratch + desk->taken, length) == 0 && error == -EFAULT &&
		    length > REGION_PAGE) {
			length = (length / 2 + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;
			error = 0;
		}
	}
	return -error;
}

/* Step 2 of settling (settle.c), if the pages are taken out. */
static int detach(struct odf_region *region, const struct region_settler *settler, const struct step *step)
{
	struct region_desk *desk = settler->desk;
	size_t first = step->from / REGION_PAGE, end = first + step->length / REGION_PAGE;
	int error = 0;

	desk->taken = desk->taken_count = 0;
	hide_zeros(region, step, MADV_DONTFORK);
	while (desk->taken < step->length && error == 0) {
		bool zeros;
		size_t next = region_discard_run(region, first + desk->taken / REGION_PAGE, end, &zeros);
		error = detach_run(region, settler, step, (next - first) * REGION_PAGE, zeros);
	}
	if (error != 0)
		put_back(region, settler, step);
	return error;
}

/* ---- Both ---- */

/* A table with fewer private pages takes less time to merge than to protect. */
#define SPARSE_PAGES 16
/* So much without any data becomes a piece of its own. */
#define GAP ((size_t)8 * REGION_TABLE)
/* The greatest length of a protected piece with few private pages. */
#define LONGEST ((size_t)64 * REGION_TABLE)

static size_t next_data(const struct odf_region *region, size_t at)
{
	long data = sys_call3(SYS_lseek, region->file, at, SEEK_DATA);

	return data >= 0 ? (size_t)data : data == -ENXIO ? SIZE_MAX : at;
}

void step_choose_how_to_hold(const struct odf_region *region, struct step *step, const struct step_pages *private)
{
	bool sparse = private->count < step->length / REGION_TABLE * SPARSE_PAGES;
	size_t end = step->from + step->length, at = step->from, data, first;

	step->may_protect = !step->is_fresh || !sparse;
	if (!step->may_protect || !sparse || step->length <= GAP)
		return;
	data = next_data(region, at);
	first = data < private->first ? data : private->first;
	if (first >= end || first - at >= GAP) {
		step->may_protect = false;
		end = first < end ? first / REGION_TABLE * REGION_TABLE : end;
	} else {
		at = at / REGION_TABLE * REGION_TABLE + GAP;
		while (at < end && at - step->from < LONGEST && (data = next_data(region, at)) < end && data - at < GAP)
			at = (data / REGION_TABLE + 1) * REGION_TABLE;
		end = at < end ? at : end;
	}
	step->length = end - step->from;
}

int step_hold(struct odf_region *region, const struct region_settler *settler, struct step *step)
{
	if (step->may_protect && can_protect(region, settler) && protect(settler, step->home, step->length) == 0) {
		step->is_protected = true;
		return 0;
	}
	return detach(region, settler, step);
}

void step_let_go(struct odf_region *region, const struct region_settler *settler, const struct step *step)
{
	if (!step->is_protected) {
		put_back(region, settler, step);
		return;
	}
	unregister(settler, step->home, step->length);
	step_wake(settler, step);
}

long step_private(const struct region_settler *settler, const struct step *step, char *start, char *end, char **walked)
{
	struct region_run *runs = settler->desk->runs;

	if (step->is_protected)
		return region_private_beside(settler->pagemap, protection.marker, start, end, runs, REGION_RUNS,
					     walked);
	return region_private(settler->pagemap, start, end, true, 0, runs, REGION_RUNS, walked);
}

int region_take_aside(struct odf_region *region, const struct region_settler *settler, char *place, size_t length)
{
	struct step step = { .length = length, .home = place };
	int error = region->scratch == NULL ? region_work_make(region) : 0;

	if (error != 0)
		return error;
	if (!region_work_take(region, 0, length))
		return ENOMEM;
	step.scratch = region->scratch;
	settler->desk->taken = settler->desk->taken_count = 0;
	error = detach_run(region, settler, &step, length, false);
	if (error != 0)
		region_end_aside(region, settler, place, length, error);
	return error;
}

void region_end_aside(struct odf_region *region, const struct region_settler *settler, char *place, size_t length,
		      int error)
{
	struct step step = { .length = length, .home = place, .scratch = region->scratch };

	if (error != 0)
		attach(region, settler, &step);
	else
		step_wake(settler, &step);
	if (!region->in_place || region->lost_count == 0)
		step_clear_scratch(region, &step);
	if (region->lost_count == 0)
		region_work_release(region, region->staging, 0);
	else
		step_give_up_places(region);
}

