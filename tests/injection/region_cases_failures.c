/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: failures in the middle of a fork or of a settle.
 */
#include <sched.h>

#include "region_cases.h"

static int fail_moves_from, moves_to_fail;
static bool failed_moves_unmap;

/* Fails the caller's moves of whole page tables: those of a freeze. */
static bool fails_moves(const struct call *call, long *result)
{
	if (!ours || call->number != SYS_mremap || --fail_moves_from > 0 || moves_to_fail == 0)
		return false;
	moves_to_fail--;
	if (failed_moves_unmap)
		(void)real_call(SYS_munmap, call->e, call->c, 0, 0, 0, 0);
	*result = -ENOMEM;
	return true;
}

static void fork_fails_where(int call, bool unmaps)
{
	pid_t pid;

	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fail_moves_from = call;
	moves_to_fail = 1;
	failed_moves_unmap = unmaps;
	hook = fails_moves;
	errno = 0;
	pid = odf_fork();
	if (pid == 0)
		_exit(holds_all_1() ? 0 : 1);
	hook = NULL;
	must(moves_to_fail == 0);
	must(holds_all_1());
	must(pid > 0 && status_of(pid) == 0); /* it was tried again */
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	settle();
	must(holds_all_1());
}

void fork_fails_in_its_first_step(void)
{
	fork_fails_where(1, false);
}

void fork_fails_in_its_second_step(void)
{
	fork_fails_where(2, false);
}

/* The cause lasts, so the region cannot be frozen. A fork of ordinary memory would not fail for it. */
void fork_of_what_cannot_be_frozen(void)
{
	for (int call = 1; call <= 2; call++) {
		make(TABLE + 5, ODF_REGION_MANUAL);
		fill(0, pages, 1);
		fail_moves_from = call;
		moves_to_fail = 1000000;
		failed_moves_unmap = false;
		hook = fails_moves;
		fork_and_end(holds_all_1);
		must_be_given_up();
		fill(0, pages, 2);
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		hook = NULL;
		for (int tries = 0; info().resident_bytes > 0; tries++) { /* memory that was in the file must not be
		                                                             held twice */
			must(tries < 60000);
			wait_ms(1);
		}
		must(holds_all_1());
		must(odf_region_discard(region, home, 10 * PAGE) == 0 && holds(0, 10, 0) && holds(10, pages, 1));
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		must(odf_region_destroy(region) == 0);
	}
}

static int keepers_moves;

static bool fails_keepers_first_move(const struct call *call, long *result)
{
	*result = -ENOMEM;
	return !ours && call->number == SYS_mremap && keepers_moves++ == 0;
}

static void *forks_idly(void *unused)
{
	const struct sched_param none = { 0 };

	(void)unused;
	must(sched_setscheduler(0, SCHED_IDLE, &none) == 0);
	fork_and_end(holds_all_1);
	return NULL;
}

/* The keeper freezes for a thread that may stall others, and is refused once. Another region was given up long ago. */
void fork_by_the_keeper_is_tried_again(void)
{
	pthread_t thread;

	make(TABLE, ODF_REGION_MANUAL);
	if (!region_keeper_runs())
		cannot_be_done_here("no keeper");
	fill(0, pages, 1);
	hook = loses_aside;
	fork_and_end(holds_all_1);
	hook = NULL;
	must_be_given_up();
	make(TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	hook = fails_keepers_first_move;
	must(pthread_create(&thread, NULL, forks_idly, NULL) == 0 && pthread_join(thread, NULL) == 0);
	hook = NULL;
	must(keepers_moves > 1 && info().state != ODF_REGION_GIVEN_UP && holds_all_1());
}

/* Also the keeper's, which would help. */
static bool fails_all_moves(const struct call *call, long *result)
{
	*result = -ENOMEM;
	return call->number == SYS_mremap || call->number == SYS_mmap;
}

/* The region cannot be given up either: the fork fails, with the errno of the refusal. */
void fork_that_is_refused(void)
{
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;

	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	hook = fails_all_moves;
	pid = odf_fork_with(NULL, &report);
	if (pid == 0)
		_exit(0);
	hook = NULL;
	must(pid == -1 && report.error == ENOMEM);
	must(report.reason[ODF_STRATEGY_REGION] == ODF_REASON_REGION_REFUSED);
	must(holds_all_1());
	fork_and_end(holds_all_1);
	must(holds_all_1());
}

/* And home is unmapped. */
void fork_loses_home(void)
{
	fork_fails_where(2, true);
}

/* What another thread mapped at a place that the region has lost is not the region's. */
char *foreign;

bool loses_aside(const struct call *call, long *result)
{
	*result = -ENOMEM;
	if (!ours && call->number == SYS_mmap && call->a == 0 && foreign != NULL)
		return true; /* the keeper cannot make another one either, for the moment */
	if (!ours || call->number != SYS_mremap || foreign != NULL)
		return false;
	(void)real_call(SYS_munmap, call->e, call->c, 0, 0, 0, 0);
	foreign = mmap((void *)call->e, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		       -1, 0);
	must(foreign == (char *)call->e);
	memset(foreign, 77, PAGE);
	return true;
}

void foreign_memory_is_left_alone(void)
{
	make(TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	hook = loses_aside;
	fork_and_end(holds_all_1);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	hook = NULL;
	must_be_given_up();
	fork_and_end(holds_all_1);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	must(odf_region_destroy(region) == 0);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
}

/* The same, and the settle that the fork interrupted continues. */
void foreign_memory_is_left_alone_amid_a_settle(void)
{
	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle_until(BETWEEN_STEPS, 2);
	hook = loses_aside;
	fork_and_end(holds_all_1);
	hook = NULL;
	(void)settle_on();
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	must_be_given_up();
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	must(holds_all_1());
	fork_and_end(holds_all_1);
	must(odf_region_destroy(region) == 0);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
}

/* Home turns out to be two mappings. One is moved and the other cannot be; after that nothing can be moved for a
 * while. */
static int move_of_freeze;

static bool fails_between_halves(const struct call *call, long *result)
{
	if (!ours || call->number != SYS_mremap || ++move_of_freeze == 2 || move_of_freeze > 5)
		return false;
	(void)real_call(SYS_munmap, call->e, call->c, 0, 0, 0, 0);
	*result = move_of_freeze == 1 ? -EFAULT : -ENOMEM;
	return true;
}

void fork_fails_between_two_halves(void)
{
	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	hook = fails_between_halves;
	fork_and_end(holds_all_1); /* it succeeds in the end */
	hook = NULL;
	must(move_of_freeze > 5 && holds_all_1());
}

int scans_to_fail;

bool fails_merging_scan(const struct call *call, long *result)
{
	if (ours || !merges(call->number, call->b, call->c) || scans_to_fail-- <= 0)
		return false;
	*result = -ENOMEM;
	return true;
}

void pages_that_cannot_be_told_apart(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	scans_to_fail = 1;
	hook = fails_merging_scan;
	if (odf_region_settle(region) == 0 && scans_to_fail > 0)
		cannot_be_done_here("no PAGEMAP_SCAN");
	hook = NULL;
	must(holds_all_1());
	must(info().state != ODF_REGION_LIVE);
	settle();
	must(holds_all_1());
}

int last_moves_to_fail;

bool fails_last_move(const struct call *call, long *result)
{
	if (ours || call->number != SYS_mremap || (call->d & 4 /* MREMAP_DONTUNMAP */) || last_moves_to_fail == 0)
		return false;
	last_moves_to_fail--;
	*result = -ENOMEM;
	return true;
}

/* All is merged, and only the replacement of home fails. */
void step_refused_in_the_end(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	last_moves_to_fail = 1;
	hook = fails_last_move;
	must(odf_region_settle(region) == ENOMEM);
	hook = NULL;
	must(holds_all_1());
	must(info().state != ODF_REGION_LIVE);
	fill(0, 20, 2);
	settle();
	must(holds(0, 20, 2) && holds(20, pages, 1));
}

/* ---- Steps without page tables ----------------------------------------------------------------------------------- */

static bool is_mapped_now(size_t page)
{
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	must(file >= 0);
	must(pread(file, &entry, sizeof entry, (off_t)((uintptr_t)(home + page * PAGE) / PAGE * sizeof entry)) ==
	     sizeof entry);
	close(file);
	return entry & ENTRY_PRESENT;
}

void page_tables_come_home(void)
{
	need_userfaultfd();
	make_filled();
	for (int fresh = 0; fresh < 2; fresh++) {
		must(is_mapped_now(0));
		fork_and_end(holds_all_1);
		region_fresh_always = fresh;
		settle();
		must(is_mapped_now(0) == !fresh);
		must(holds_all_1());
	}
}

static bool fails_to_write(const struct call *call, long *result)
{
	if (call->number != SYS_pwrite64)
		return false;
	*result = call->c > (long)PAGE ? (long)PAGE : -ENOSPC; /* part of it, or nothing */
	return true;
}

void writes_to_the_file_fail(void)
{
	need_userfaultfd();
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages / 2, 1);
	fill(pages / 2 + 1, pages, 1);
	region_fresh_always = true;
	hook = fails_to_write;
	settle();
	hook = NULL;
	must(holds(0, pages / 2, 1) && holds(pages / 2, pages / 2 + 1, 2) && holds(pages / 2 + 1, pages, 1));
	fork_and_end(is_child);
}
