/* SPDX-License-Identifier: MIT
 *
 * Gives a region up: the only way to do that, whatever the cause. At once its memory becomes ordinary private memory of
 * the process, at the same addresses and with the same content; children inherit it like any other. Under the lock;
 * async-signal-safe.
 *
 * FROZEN memory is private already; LIVE memory is covered as by a freeze, for good. From then on the file is only
 * read: each page that the process writes is copied. The pages of the file that the process still sees are copied too,
 * and removed from the file, as soon as no descendant can need them ("drained"), so that nothing is there twice.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../sys/trace.h"
#include "internal.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Bytes to drain at a time under the lock: half a millisecond for each MiB that the file has there. */
#define DRAIN_SLICE ((size_t)4 << 20)

/* The file, if the caller's descriptor table has it; otherwise -1. */
static int file_of(const struct odf_region *region)
{
	return region_lock_is_keepers() ? region->file : -1;
}

bool region_cover_by_mapping(struct odf_region *region, size_t from, size_t length)
{
	char *home = region->home + from;
	int file = file_of(region);

	if (file < 0)
		return false;
	/* Mapped with its rights from the beginning, as other threads use the memory. The kernel may fail after it has
	 * unmapped what was there: a thread that touches that gap would get SIGSEGV, so the call is repeated. */
	for (unsigned tries = 0;
	     region_map(home, length, region->rights, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, from) == NULL;
	     tries++) {
		if (region_is_mapped(home, length))
			return false;
		if (tries > 100)
			region_pause_ms(1);
	}
	return true;
}

/* ---- Where address space is short ---- */

#define NO_LIMIT ((uint64_t)1 << 47)

bool region_address_space_is_limited(void)
{
	struct rlimit64 limit;

	return sys_call4(SYS_prlimit64, 0, RLIMIT_AS, NULL, &limit) == 0 && limit.rlim_cur < NO_LIMIT;
}

/* Unmaps the parts of the template that no LIVE memory needs. */
static void shed_template(struct odf_region *region)
{
	struct region_piece pieces[2];
	int count = region_pieces(region, (region->template_from + region->template_length) % region->length,
				  region->length - region->template_length, pieces);

	for (int i = 0; i < count; i++)
		for (size_t at = pieces[i].from, limit = at + pieces[i].length, end; at < limit; at = end) {
			const struct region_extent *extent = region_extent_at(region, at, limit, &end);
			if (!region_is_live(region, at, &end) || extent != NULL)
				region_template_unmap(region, at, end - at);
		}
	/* Covering the LIVE memory uses up the rest. */
	region->template_from = 0;
	region->template_length = region->length;
}

/* What a region reserves counts for RLIMIT_AS, so the kernel would refuse the mappings that giving it up needs. Unmaps
 * first all that is not needed for that. For regions of the heap. */
static void shed(struct odf_region *region)
{
	region_aside_drop(region);
	region->aside_lost = true; /* if the region stays after all, the keeper makes a new one */
	if (region->in_place)
		return;
	if (region->scratch != NULL && region->lost_count == 0) {
		(void)region_unmap(region->scratch, 2 * region->work_size);
		region->scratch = region->staging = NULL;
	}
	if (region->template != NULL && !region->template_lost)
		shed_template(region);
}

/* For a region without extents. */
static int cover_live_part(struct odf_region *region)
{
	struct region_piece pieces[2];
	int count = region_pieces(region, region->live_from, region->live_length, pieces);

	for (int i = 0; i < count; i++) {
		size_t done = 0;
		int error;
		if (!region->aside_lost) /* moves page tables aside, if possible */
			(void)region_move_aside(region, pieces[i].from, pieces[i].length);
		error = region_cover(region, pieces[i].from, pieces[i].length, &done);
		if (error != 0 && region_cover_by_mapping(region, pieces[i].from + done, pieces[i].length - done)) {
			done = pieces[i].length;
			error = 0;
		}
		region->template_length += done;
		region->live_from = (region->live_from + done) % region->length;
		region->live_length -= done;
		if (error != 0)
			return error;
	}
	return 0;
}

static int make_private(struct odf_region *region)
{
	int error;

	if (region->extents != NULL) {
		error = region_check(region, 0, region->length);
		return error != 0 ? error : region_cut_known(region, 0, region->length);
	}
	if (region->template_length == 0)
		region->template_from = region->live_from;
	error = cover_live_part(region);
	return error != 0 ? error : region_show(region);
}

int region_give_up(struct odf_region *region, odf_reason reason)
{
	int error;

	if (region->inherited || region->left)
		return 0;
	region->left_reason = reason;
	region->shed = region->extents != NULL && !region_lock_is_keepers() && /* which has limits of its own */
		       region_address_space_is_limited();
	if (region->shed) {
		shed(region);
		region->shed = !region->in_place; /* in place the template is one page as long as no part is taken out
		                                     of it */
	}
	if (!region->shed && region->aside_lost && region_lock_is_keepers())
		(void)region_aside_make(region); /* otherwise the file is mapped over it */
	error = make_private(region);
	region->epoch++; /* a settle that is under way begins again */
	region->vacant = false;
	if (error != 0)
		return error;
	if (region->extents != NULL)
		(void)region_unmap_holes(region); /* holes that stay do no harm */
	region_uncount(region); /* forks need not freeze it any more */
	region->left = true;
	TRACE_3(leave, region->home, region->length, odf_reason_name(reason));
	region->visible = true;
	region->live_from = 0;
	region->live_length = region->length;
	region_template_drop(region);
	region->template = NULL;
	region_aside_drop(region);
	region->aside = NULL;
	region->aside_lost = false;
	if (region->scratch != NULL && region->lost_count == 0 && !region->in_place)
		(void)region_unmap(region->scratch, 2 * region->work_size);
	region->scratch = region->staging = NULL;
	/* Without the file's descriptor its pages are removed through this view. */
	if (region->source != NULL && region_keeper_runs() && region->file >= 0)
		region_source_drop(region);
	/* Without a keeper the file stays as it is: forks are not counted any more, so only the token can tell that no
	 * child maps it. */
	if (region_keeper_runs() && !region_lock_is_keepers())
		region_keeper_call();
	return 0;
}

int region_give_up_all(odf_reason reason)
{
	int error = 0;

	for (struct odf_region *region = region_list; region != NULL; region = region->next) {
		int failed = region_give_up(region, reason);
		error = error == 0 ? failed : error;
	}
	return error;
}

void region_leave_all(odf_reason reason)
{
	uint64_t mask;

	region_lock(&mask);
	(void)region_give_up_all(reason);
	region_unlock(&mask);
}

bool region_has_left(const struct odf_region *region, odf_reason *reason)
{
	bool left = __atomic_load_n(&region->left, __ATOMIC_ACQUIRE);

	if (left)
		*reason = region->left_reason;
	return left;
}

/* ---- Draining the file ---- */

/* Writes to each page without changing it, even if another thread writes there at that moment. For kernels before 5.14,
 * and if a filter refuses MADV_POPULATE_WRITE. */
static void touch(char *start, char *end)
{
	for (char *page = start; page < end; page += REGION_PAGE)
		(void)__atomic_fetch_or(page, 0, __ATOMIC_RELAXED);
}

/* Makes private copies of the file's pages that the process sees in [from, end). False: some are not copied. */
static bool own_pages(struct odf_region *region, size_t from, size_t end)
{
	for (size_t at = from, next; at < end; at = next) {
		struct region_extent run = { .kind = REGION_MEMORY, .protection = (unsigned char)region->rights };
		long error;
		next = end;
		if (region->extents != NULL) {
			run = region_run_at(region, at, end);
			next = at + run.length;
		}
		if (run.sealed) /* it may be a view of the file for good */
			return false;
		if (run.kind == REGION_HOLE || run.kind == REGION_FOREIGN)
			continue;
		if (!(run.protection & PROT_WRITE))
			return false;
		error = sys_call3(SYS_madvise, region->home + at, next - at, MADV_POPULATE_WRITE);
		if (error == -EINVAL || error == -EPERM || error == -ENOSYS)
			touch(region->home + at, region->home + next);
		else if (error < 0)
			return false;
	}
	return true;
}

/* The next part of the file at or after `at` that has pages. False: there is none up to `end`, or that is not known. */
static bool find_data(struct odf_region *region, int file, size_t at, size_t end, size_t *from, size_t *until)
{
	unsigned char there[DRAIN_SLICE / REGION_PAGE];
	size_t page = 0, pages;
	long data, hole, error;

	if (file >= 0) {
		data = sys_call3(SYS_lseek, file, at, SEEK_DATA);
		if (data < 0 || (size_t)data >= end)
			return false;
		hole = sys_call3(SYS_lseek, file, data, SEEK_HOLE);
		*from = (size_t)data;
		*until = hole > data && (size_t)hole < end ? (size_t)hole : end;
		return true;
	}
	/* There is no descriptor: looks at the page cache through a view of the file. */
	if (at < region->source_from) /* below all memory */
		at = region->source_from;
	if (at >= end || end - at > DRAIN_SLICE || !region_source_unfold(region, at, end))
		return false;
	error = sys_call3(SYS_mincore, region->source + at, end - at, there);
	region_source_fold(region);
	if (error < 0)
		return false;
	pages = (end - at) / REGION_PAGE;
	while (page < pages && !(there[page] & 1))
		page++;
	*from = at + page * REGION_PAGE;
	while (page < pages && (there[page] & 1))
		page++;
	*until = at + page * REGION_PAGE;
	return *from < end;
}

static bool take_out(struct odf_region *region, int file, size_t from, size_t length)
{
	if (file < 0)
		return region_punch(region, from, length);
	return sys_call4(SYS_fallocate, file, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, from, length) == 0;
}

struct slice {
	size_t from[32], until[32];
	unsigned count;
};

/* Makes private copies in [at, limit), and notes where. Returns how far it came. */
static size_t own_slice(struct odf_region *region, int file, size_t at, size_t limit, struct slice *slice)
{
	size_t from, until;

	for (slice->count = 0; at < limit && find_data(region, file, at, limit, &from, &until); at = until) {
		if (!own_pages(region, from, until))
			continue; /* the process still needs the file's pages */
		slice->from[slice->count] = from;
		slice->until[slice->count++] = until;
		if (slice->count == sizeof slice->from / sizeof slice->from[0])
			return until;
	}
	return limit;
}

bool region_is_drained(const struct odf_region *region)
{
	return region->left && region->drained >= region->capacity / REGION_PAGE * REGION_PAGE;
}

int region_drain(struct odf_region *region, size_t most)
{
	int file = file_of(region);
	size_t end = region->capacity / REGION_PAGE * REGION_PAGE, from, until;

	for (; region->drained < end && most > 0; most--) {
		size_t at = region->drained, limit, next;
		struct slice slice;
		int error = 0;
		if (file >= 0) { /* skips what has no pages */
			if (!find_data(region, file, at, end, &from, &until))
				from = end;
			region->drained = at = from;
		}
		limit = end - at < DRAIN_SLICE ? end : at + DRAIN_SLICE;
		next = own_slice(region, file, at, limit, &slice);
		/* Asked only now: a child that is made from here on inherits the private copies, and one that was made
		 * before holds the token. */
		if (slice.count > 0)
			error = region_lock_is_keepers() && !region->doubt ? region_token_ask(region) : EBUSY;
		for (unsigned i = 0; i < slice.count && error == 0; i++)
			if (!take_out(region, file, slice.from[i], slice.until[i] - slice.from[i]))
				error = ENOMEM;
		region->vacant = false; /* a child that is made meanwhile maps the next slice */
		if (error != 0)
			return error;
		region->drained = next;
	}
	return 0;
}
