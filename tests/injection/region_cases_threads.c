/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: what other threads of the program do during a step.
 */
#include "region_cases.h"

atomic_int touched;

/* A private page, a page in the file that is not private, and a page in neither. */
const size_t meeting[] = { 3, 80, 50 };
static const uint64_t generations[] = { 2, 1, 0 };
const size_t indices[] = { 0, 1, 2 };

void *touch(void *index)
{
	size_t i = *(const size_t *)index, page = meeting[i];

	ours = true;
	must(holds(page, page + 1, generations[i]));
	*word(page) = 5ull << 32 | page;
	atomic_fetch_add(&touched, 1);
	return NULL;
}

/* A thread that writes to a page of the present step waits, finds the old contents, and does not lose its write. */
void threads_amid_a_step(void)
{
	pthread_t threads[3];

	need_userfaultfd();
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, 30, 1);
	fill(60, pages, 1);
	fork_and_end(is_child);
	fill(0, 40, 2);
	settle_until(IN_A_STEP, 1);
	for (int i = 0; i < 3; i++)
		must(pthread_create(&threads[i], NULL, touch, (void *)(uintptr_t)&indices[i]) == 0);
	wait_ms(50);
	must(atomic_load(&touched) == 0);
	must(settle_on() == 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 3; i++)
		must(holds(meeting[i], meeting[i] + 1, 5));
	must(holds(0, 3, 2) && holds(4, 40, 2) && holds(51, 60, 0) && holds(60, 80, 1) && holds(81, pages, 1));
}

/* They continue as if nothing had been tried. */
void threads_after_a_failed_step(void)
{
	pthread_t threads[3];

	need_userfaultfd();
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, 30, 1);
	fill(60, pages, 1);
	fork_and_end(is_child);
	fill(0, 40, 2);
	scans_to_fail = 1;
	hook = fails_merging_scan;
	settle_until(IN_A_STEP, 1);
	for (int i = 0; i < 3; i++)
		must(pthread_create(&threads[i], NULL, touch, (void *)(uintptr_t)&indices[i]) == 0);
	wait_ms(50);
	must(settle_on() != 0);
	hook = NULL;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int again = 0; again < 2; again++) {
		for (int i = 0; i < 3; i++)
			must(holds(meeting[i], meeting[i] + 1, 5));
		must(holds(0, 3, 2) && holds(4, 40, 2) && holds(51, 60, 0) && holds(60, 80, 1) && holds(81, pages, 1));
		settle();
	}
}

static bool no_userfaultfd(const struct call *call, long *result)
{
	if (call->number != SYS_userfaultfd && !(call->number == SYS_ioctl && call->b == (long)_IO(0xAA, 0x00)))
		return false;
	*result = -EPERM;
	return true;
}

static void *sleep_beside(void *unused)
{
	ours = true;
	wait_ms(100000);
	return unused;
}

/* Without userfaultfd a fork settles on its way, if little is written between two forks, and only in a single-threaded
 * process. */
void no_settling_beside_threads(void)
{
	pthread_t thread;

	hook = no_userfaultfd;
	make(4 * TABLE, 0);
	must(info().settling == ODF_REGION_SETTLES_AT_FORK);
	for (int beside = 0; beside < 2; beside++) {
		if (beside)
			must(pthread_create(&thread, NULL, sleep_beside, NULL) == 0);
		uint64_t before = info().settles;
		fill(0, pages, 1);
		for (int i = 0; i < (beside ? 200 : 2000) && (beside || info().settles == before); i++) {
			pid_t pid = odf_fork();
			if (pid == 0)
				_exit(0);
			must(status_of(pid) == 0);
			fill(0, 1, 1);
		}
		must(beside ? info().settles == before : info().settles > before);
	}
}

/* Several forks do what takes too long for one. Each finds its part FROZEN or LIVE. */
void settles_in_slices(void)
{
	struct region_allowance none = { .all_pages = 2, .all_ns = 1 };
	unsigned slices = 0;
	uint64_t merged = 0;
	int error;

	hook = no_userfaultfd;
	make(8 * TABLE, 0);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	fill(0, pages, 1);
	must(region_order_settle(&none) == E2BIG && none.merged == 0);
	do {
		struct region_allowance slice = { .all_pages = 2, .all_ns = 1, .slice_ns = 1 };
		error = region_order_settle(&slice);
		if (error == EBUSY || error == EAGAIN) { /* the keeper is giving back memory that is held twice */
			wait_ms(1);
			continue;
		}
		must(error == 0 || error == ETIME);
		must(slice.merged < pages);
		merged += slice.merged;
		slices++;
		must(holds(0, pages, 1));
		if (slices == 3)
			fork_and_end(holds_all_1); /* freezes the LIVE part again */
		must(slices < pages);
	} while (error != 0);
	must(slices > 3 && merged == pages && info().settles == 1);
	fork_and_end(holds_all_1);
}
