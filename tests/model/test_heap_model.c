/* SPDX-License-Identifier: MIT
 *
 * Compares the heap with the kernel. Random programs map, unmap, move, protect, advise, allocate, read, write and fork,
 * once with the library preloaded and its heap awake, and once without. Both runs log the outcome of each call: result,
 * errno, bytes, faults. Each process of one run must have the same log as its counterpart in the other.
 *
 * The two runs have their memory at different addresses, so a program names it by arena and page. What it does follows
 * from the seed, its path in the tree of forks (0.2.1: the second child of the third child of the root, counted from
 * 0), the number of the step, and what it knows of its memory; never from an address. The test does not compare what
 * the kernel leaves open: whether neighbours were merged to one mapping, the contents of a page between MADV_FREE and
 * the next write to all of it, whether a page that was not written is resident, and whether a gap in memory that the
 * kernel placed is still one after something else was placed. Nor does it compare known differences of the heap: a hole
 * in it faults with SEGV_ACCERR, and a mapping may be unable to grow in place where it otherwise could.
 *
 *   test_heap_model SEED [TIMES]     that seed only, this many times (1)
 *
 * ODF_TEST_SEEDS: how many seeds (2000). ODF_TEST_FIRST_SEED: the first one (1). ODF_TEST_SECONDS: runs new seeds for
 * this long instead. ODF_TEST_WORKERS: how many pairs of runs at once (2). ODF_TEST_TRACE=1 prints each step.
 * ODF_TEST_NOBODY=1 gives up root first. ODF_TEST_LIBRARY: the library to preload, by default that in ODF_BUILD.
 * ODF_TEST_HEAP, ODF_TEST_NOISE, ODF_TEST_PAST and ODF_TEST_NO_QUERIES fix what the seed otherwise selects:
 * ODFORK_HEAP, whether signals interrupt, whether there are calls that the library does not see, and whether the kernel
 * refuses PROCMAP_QUERY. With ODF_TEST_HEAP=late the program is linked with the library, with asleep the library is
 * preloaded: in both the program enables the heap at some step.
 *
 * One process runs a batch of seeds, one after the other. ODF_TEST_WHOLE=1 replays the seed's whole batch.
 * ODF_TEST_REDUCE=N leaves out steps of a seed that differs, as long as one of N runs still differs, and shows the
 * remaining steps. ODF_TEST_GO_ON=1 does not stop at the first difference. ODF_TEST_ONCE=1 does not count how often it
 * happens again.
 */
#include "heap_model.h"

/* ---- Both runs and their logs ------------------------------------------------------------------------------------ */

struct totals {
	atomic_int differences;
	atomic_ulong seeds, processes, steps, calls, faults, eligible, placed, kills;
};

static struct totals *totals;

static uint64_t only_seed, only_times;

/* cmocka catches these signals to continue with the next test. Only cmocka's own process must do that. */
static void let_signals_kill(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS };

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		signal(signals[i], SIG_DFL);
}

/* Runs batches first, first + step, ... of the seeds, until all are done or the time is over. Step 0: the same batch
 * again and again. */
__attribute__((noreturn)) static void work(uint64_t first, uint64_t step, uint64_t count, double end)
{
	static struct side heap, plain;
	bool go_on = number_from("ODF_TEST_GO_ON", 0) != 0, whole = step > 0 || number_from("ODF_TEST_WHOLE", 0) != 0;
	int result = 0;

	let_signals_kill();
	make_side(&heap, true);
	make_side(&plain, false);
	for (uint64_t i = 0; i < count && (go_on || totals->differences == 0) && (end == 0 || now() < end); i++) {
		uint64_t seed = step > 0 ? (first + i * step) * BATCH : whole ? first / BATCH * BATCH : first;
		struct difference d = run_both(&heap, &plain, seed, whole ? BATCH : 1);
		totals->seeds += whole ? BATCH : 1;
		if (!d.found)
			continue;
		result = 1;
		if (d.path[0] == '\0')
			d.seed = seed;
		if (atomic_fetch_add(&totals->differences, 1) == 0 || go_on) {
			show_difference(&heap, &plain, &d, go_on ? number_from("ODF_TEST_GO_ON", 0) - 1 : 30);
			investigate(&heap, &plain, &d);
		}
	}
	totals->processes += heap.board->processes;
	totals->steps += heap.board->steps;
	totals->calls += heap.board->calls;
	totals->faults += heap.board->faults;
	totals->eligible += heap.board->eligible;
	totals->placed += heap.board->placed;
	totals->kills += heap.board->kills;
	fflush(NULL);
	_exit(result);
}

static void run_workers(uint64_t first, uint64_t count, uint64_t step, double end)
{
	uint64_t workers = number_from("ODF_TEST_WORKERS", 2);
	pid_t pids[64];
	bool fine = true;
	int status;

	if (workers == 0 || workers > 64)
		workers = 2;
	fflush(NULL);
	for (uint64_t i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			work(first + i * step, workers * step, count / workers + (i < count % workers), end);
		assert_true(pids[i] > 0);
	}
	for (uint64_t i = 0; i < workers; i++) {
		while (waitpid(pids[i], &status, 0) != pids[i])
			assert_int_equal(errno, EINTR);
		fine = status == 0 && fine;
	}
	print_message("# %lu seeds; with the heap %lu processes, %lu steps, %lu calls, %lu faults, %lu kills; of %lu "
		      "new mappings that were "
		      "looked at %lu were in a region\n",
		      (unsigned long)totals->seeds, (unsigned long)totals->processes, (unsigned long)totals->steps,
		      (unsigned long)totals->calls, (unsigned long)totals->faults, (unsigned long)totals->kills,
		      (unsigned long)totals->eligible, (unsigned long)totals->placed);
	if (!fine || totals->differences != 0)
		fail_msg("%d differences", totals->differences);
}

static void test_random_programs(void **state)
{
	uint64_t seconds = number_from("ODF_TEST_SECONDS", 0), first = number_from("ODF_TEST_FIRST_SEED", 1);

	(void)state;
	if (only_times > 0) {
		run_workers(only_seed, only_times, 0, 0);
	} else if (seconds > 0) {
		uint32_t fresh;
		assert_int_equal(getrandom(&fresh, sizeof fresh, 0), sizeof fresh);
		first = (uint64_t)fresh << 16;
		print_message("# seeds from %" PRIu64 "\n", first);
		run_workers(first / BATCH, UINT64_MAX / 2 / BATCH, 1, now() + (double)seconds);
	} else {
		run_workers(first / BATCH, number_from("ODF_TEST_SEEDS", 2000) / BATCH, 1, 0);
	}
	/* Otherwise the library was not tested. */
	if (library[0] != '\0' && only_times == 0 && totals->eligible > 20)
		assert_true(totals->placed > 0);
}

static void find_library(void)
{
	const char *given = getenv("ODF_TEST_LIBRARY"), *build = getenv("ODF_BUILD");

	if (given != NULL)
		snprintf(library, sizeof library, "%s", given);
	else if (build != NULL)
		snprintf(library, sizeof library, "%s/libodfork.so.0", build);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_programs) };

	if (argc == 6 && strcmp(argv[1], "--run") == 0)
		run(argv + 2);
	become_nobody_if_asked(argv);
	find_library();
	totals = mmap(NULL, sizeof *totals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED)
		return 1;
	if (argc > 1) {
		only_seed = strtoull(argv[1], NULL, 0);
		only_times = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	}
	return cmocka_run_group_tests_name("heap_model", tests, NULL, NULL);
}
