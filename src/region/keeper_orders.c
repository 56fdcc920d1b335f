/* SPDX-License-Identifier: MIT
 * Orders to the keeper, one at a time: threads of the program give them, the keeper carries them out. */
#include <errno.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <time.h>

#include "../sys/process_lock.h"
#include "keeper.h"

static struct {
	struct process_lock lock;
	enum region_order order;
	struct odf_region *region;
	uint64_t result;
	struct region_allowance allowed; /* for REGION_SETTLE_AT_FORK */
	int error;
	atomic_int state;
} slot;
enum { SLOT_EMPTY, SLOT_ORDER, SLOT_DONE };

void keeper_forget_orders(void)
{
	atomic_store(&slot.state, SLOT_EMPTY);
}

/* ---- By the program ---- */

int keeper_wait_for_answer(void)
{
	while (atomic_load(&slot.state) == SLOT_ORDER && atomic_load(&keeper.id) != 0) {
		/* The keeper's end does not wake this futex. */
		struct timespec moment = { 0, 100000000 };
		if (sys_call4(SYS_futex, &slot.state, FUTEX_WAIT_PRIVATE, SLOT_ORDER, &moment) == -ETIMEDOUT)
			region_keeper_rouse();
	}
	/* A child that was forked by a signal handler continues here, without a keeper. */
	return atomic_exchange(&slot.state, SLOT_EMPTY) == SLOT_DONE ? slot.error : ESRCH;
}

void keeper_expect_answer(enum region_order order, struct odf_region *region)
{
	slot.order = order;
	slot.region = region;
	slot.result = 0;
	atomic_store(&slot.state, SLOT_ORDER);
}

static int give_order(enum region_order order, struct odf_region *region, uint64_t *result)
{
	int error;

	keeper_expect_answer(order, region);
	region_keeper_call();
	error = keeper_wait_for_answer();
	if (result != NULL)
		*result = slot.result;
	return error;
}

void keeper_lock_orders(void)
{
	process_lock_wait(&slot.lock);
}

bool keeper_try_lock_orders(void)
{
	return process_lock_try(&slot.lock);
}

bool keeper_lock_free_orders(void)
{
	return process_lock_try_free(&slot.lock);
}

void keeper_unlock_orders(void)
{
	process_lock_release(&slot.lock);
}

int region_order(enum region_order order, struct odf_region *region, uint64_t *result)
{
	int error;

	keeper_lock_orders();
	error = region_keeper_runs() ? give_order(order, region, result) : ESRCH;
	keeper_unlock_orders();
	return error;
}

int region_order_now(enum region_order order, uint64_t *result)
{
	int error;

	if (!keeper_try_lock_orders())
		return EBUSY;
	error = region_keeper_runs() ? give_order(order, NULL, result) : ESRCH;
	keeper_unlock_orders();
	return error;
}

int region_order_settle(struct region_allowance *allowed)
{
	int error;

	if (!keeper_try_lock_orders())
		return EBUSY;
	slot.allowed = *allowed;
	error = region_keeper_runs() ? give_order(REGION_SETTLE_AT_FORK, NULL, NULL) : ESRCH;
	*allowed = slot.allowed;
	keeper_unlock_orders();
	return error;
}

/* ---- By the keeper ---- */

bool keeper_settles_here(const struct odf_region *region)
{
	return keeper_settler.userfault >= 0 && !(region->flags & ODF_REGION_MANUAL);
}

const struct region_settler *region_own_settler(void)
{
	return region_lock_is_keepers() && keeper_settler.desk != NULL ? &keeper_settler : NULL;
}

bool keeper_thins_here(const struct odf_region *region)
{
	return keeper_settler.userfault < 0 && keeper_settler.pagemap >= 0 && !(region->flags & ODF_REGION_MANUAL);
}

static void close_files(struct odf_region *region)
{
	int *files[] = { &region->file, &region->second_file, &region->token_file, &region->spare_file,
			 &region->older_file };

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		if (*files[i] >= 0)
			sys_close(*files[i]);
		*files[i] = -1;
	}
}

/* The caller has reserved the address space, and unmaps it on failure. */
int keeper_adopt(struct odf_region *region)
{
	int file = region_file_take(region->capacity, region->extents != NULL, &region->second_file), error;

	if (file < 0)
		return -file;
	region->file = file; /* without second_file a template is one mapping instead of several */
	error = region_note_file(region);
	if (error == 0)
		error = region_token_make(region);
	/* Invariant 3: home is hidden before anything can be written to it. */
	if (error == 0 && !region->in_place &&
	    (region_map_file(region, region->home, region->length, MAP_SHARED | MAP_FIXED, file, 0) == NULL ||
	     region_hide(region) != 0))
		error = ENOMEM;
	if (error == 0 && region->extents != NULL)
		error = region_source_make(region);
	/* Holes are hidden too, for good. */
	if (error == 0 && region->extents != NULL && !region->in_place &&
	    sys_call3(SYS_madvise, region->home, region->length, MADV_DONTFORK) < 0)
		error = ENOMEM;
	/* Holes are not in core dumps either: a dump that reads them would allocate their pages. Memory is shown in
	 * dumps when it is taken. */
	if (error == 0 && region->extents != NULL && !region->in_place)
		(void)sys_call3(SYS_madvise, region->home, region->length, MADV_DONTDUMP);
	if (error == 0)
		error = region_template_make(region);
	/* All of it is a hole. */
	if (error == 0 && region->extents != NULL && !region->in_place &&
	    sys_call3(SYS_mprotect, region->home, region->length, PROT_NONE) < 0)
		error = ENOMEM;
	if (error != 0) {
		close_files(region);
		return error;
	}
	region_lock_as_keeper();
	region->vacant = true;
	if (region_has_pending_forks())
		error = region_freeze(region);
	if (error == 0) {
		region->next = region_list;
		region_list = region;
	}
	region_unlock_as_keeper();
	keeper_note_whether_it_settles();
	if (error != 0)
		close_files(region);
	return error;
}

static void release(struct odf_region *region)
{
	struct odf_region **link = &region_list;

	region_lock_as_keeper();
	while (*link != region)
		link = &(*link)->next;
	*link = region->next;
	region_unlock_as_keeper();
	keeper_note_whether_it_settles();
	close_files(region);
}

static int resident(const struct odf_region *region, uint64_t *bytes)
{
	struct stat status;
	long error = sys_call2(SYS_fstat, region->file, &status);

	if (error < 0)
		return (int)-error;
	*bytes = (uint64_t)status.st_blocks * 512;
	return 0;
}

static int all_resident(uint64_t *bytes)
{
	uint64_t one = 0;

	for (struct odf_region *region = region_list; region != NULL; region = region->next)
		if (resident(region, &one) == 0)
			*bytes += one;
	return 0;
}

static int settle_quietly(struct region_allowance *allowed)
{
	struct region_settler quiet = keeper_settler;
	uint64_t pages = 0, start = region_cpu_clock(), time_ns;
	int error = 0;

	if (limits_are_near())
		return E2BIG;
	quiet.userfault = -1;
	for (struct odf_region *region = region_list; region != NULL && pages <= allowed->all_pages;
	     region = region->next)
		if (!(region->flags & ODF_REGION_MANUAL) && !region->left)
			pages += region_count_private(region, &quiet, allowed->all_pages + 1 - pages);
	time_ns = pages <= allowed->all_pages ? allowed->all_ns : allowed->slice_ns;
	if (time_ns == 0)
		return E2BIG;
	quiet.until_ns = start + time_ns;
	for (struct odf_region *region = region_list; region != NULL; region = region->next)
		if (!(region->flags & ODF_REGION_MANUAL)) {
			uint64_t before = region->counters.merged_pages;
			int failed = region_settle(region, &quiet);
			allowed->merged += region->counters.merged_pages - before;
			error = error == 0 ? failed : error;
		}
	allowed->took_ns = region_cpu_clock() - start;
	return error;
}

/* Before the keeper ends: memory that its files keep after that is there twice. EBUSY: there are regions in use. */
static int drain_all(void)
{
	int error = 0;

	region_lock_as_keeper();
	for (struct odf_region *region = region_list; region != NULL; region = region->next)
		if (!region->left)
			error = EBUSY;
	for (struct odf_region *region = region_list; region != NULL && error == 0 && !limits_are_near();
	     region = region->next)
		(void)region_drain(region, SIZE_MAX); /* fails if there is a descendant */
	region_unlock_as_keeper();
	return error;
}

void keeper_answer(int error)
{
	slot.error = error;
	atomic_store(&slot.state, SLOT_DONE);
	(void)sys_call3(SYS_futex, &slot.state, FUTEX_WAKE_PRIVATE, 1);
}

/* The thread that gave the order need not wait for region_drop_older. */
static void settle_now(struct odf_region *region)
{
	int error = region_settle(region, &keeper_settler);

	keeper_answer(error == ETIME ? ENOTSUP : error); /* ETIME: the CPU limit is near, and the region is about to be
	                                                    given up */
	if (error == EBUSY)
		region_drop_older(region, &keeper_settler, program_faults());
}

static bool has_order(void)
{
	return atomic_load(&slot.state) == SLOT_ORDER;
}

bool keeper_has_order(void)
{
	return has_order() || keeper_has_freezes() ||
	       atomic_load_explicit(&region_reach_wanted, memory_order_relaxed);
}

int keeper_reach_all(void)
{
	int error = 0;

	region_lock_as_keeper();
	atomic_store(&region_reach_wanted, false);
	atomic_store(&region_reach_is_late, false);
	for (struct odf_region *region = region_list; region != NULL; region = region->next) {
		int failed = region_views_reach(region);
		error = error == 0 ? failed : error;
	}
	region_unlock_as_keeper();
	return error;
}

/* Requests that cannot wait for the end of a settle: freezes; the memory of a region, or of all if none is named; a new
 * region, which is made within a call that maps memory; and views that are to reach further. */
void keeper_answer_at_once(void)
{
	keeper_make_freezes();
	if (has_order() && slot.order == REGION_RESIDENT)
		keeper_answer(slot.region != NULL ? resident(slot.region, &slot.result) : all_resident(&slot.result));
	else if (has_order() && slot.order == REGION_ADOPT)
		keeper_answer(keeper_adopt(slot.region));
	if (atomic_load_explicit(&region_reach_wanted, memory_order_relaxed))
		(void)keeper_reach_all();
}

void keeper_carry_out_order(void)
{
	keeper_answer_at_once();
	if (!has_order())
		return;
	switch (slot.order) { /* read only now: without an order it is the previous one's */
	case REGION_RELEASE:
		release(slot.region);
		keeper_answer(0);
		break;
	case REGION_SETTLE:
		settle_now(slot.region);
		break;
	case REGION_SETTLE_AT_FORK:
		keeper_answer(settle_quietly(&slot.allowed));
		break;
	case REGION_DRAIN:
		keeper_answer(drain_all());
		break;
	case REGION_RESIDENT: /* given since keeper_answer_at_once: carried out in the next round */
	case REGION_ADOPT:
		break;
	}
}
