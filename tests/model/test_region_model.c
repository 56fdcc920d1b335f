/* SPDX-License-Identifier: MIT
 *
 * Compares regions with a model. Random programs write, discard, fork, kill, execute, settle, destroy and create, and
 * do the same to ordinary private memory, the shadow, which the kernel's own fork copies. In every process of the tree
 * every byte of every region must equal its shadow.
 *
 * What a process does follows from the seed, its path in the tree of forks (0.2.1: the second child of the third child
 * of the root, counted from 0) and the number of the step, never from earlier draws or events. So a replay is the same
 * program, though its timing differs.
 *
 *   test_region_model SEED [TIMES]     that seed only, this many times (1)
 *
 * ODF_TEST_SEEDS: how many seeds (2000). ODF_TEST_FIRST_SEED: the first one (1). ODF_TEST_SECONDS: runs new seeds for
 * this long instead. ODF_TEST_WORKERS: how many at once (2). ODF_TEST_TRACE=1 prints each step. ODF_TEST_NOBODY=1 gives
 * up root first. A build with ODF_TEST_INTERPOSED needs the shared library, linked or preloaded. If the shared library
 * is there, its interposed ways to make a process are used, too.
 */
#include "region_model.h"

/* Runs seeds first, first + step, ... until `count` are done or the time is over. `same`: one seed again and again. */
__attribute__((noreturn)) static void work(uint64_t first, uint64_t step, uint64_t count, double end)
{
	let_signals_kill();
	board = shared_memory(sizeof *board);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (uint64_t i = 0; i < count && !totals->failed && (end == 0 || now() < end); i++) {
		int nobody = 0;
		if (run_seed(first + i * step))
			continue;
		if (atomic_compare_exchange_strong(&totals->failed, &nobody, 1))
			snprintf(totals->text, sizeof totals->text, "%s",
				 board->told ? board->text : "a process failed without a word");
		_exit(1);
	}
	_exit(0);
}

static uint64_t only_seed, only_times;

static void run_workers(uint64_t first, uint64_t count, uint64_t step, double end)
{
	uint64_t workers = number_from("ODF_TEST_WORKERS", 2);
	pid_t pids[64];
	bool fine = true;

	if (workers == 0 || workers > 64)
		workers = 2;
	for (uint64_t i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			work(first + i * step, workers * step, count / workers + (i < count % workers), end);
		assert_true(pids[i] > 0);
	}
	for (uint64_t i = 0; i < workers; i++)
		fine = wait_for(pids[i]) == 0 && fine;
	print_message("# %lu seeds, %lu processes, %lu steps, %lu pages compared, %lu regions made and %lu destroyed, "
		      "%lu discards\n",
		      (unsigned long)totals->seeds, (unsigned long)totals->processes, (unsigned long)totals->steps,
		      (unsigned long)totals->compared, (unsigned long)totals->created, (unsigned long)totals->destroyed,
		      (unsigned long)totals->discards);
	print_message("# %lu kills, %lu stops, %lu execs, %lu left behind, %lu spawns, %lu past the library, settle "
		      "called: %lu "
		      "done, %lu busy\n",
		      (unsigned long)totals->kills, (unsigned long)totals->stops, (unsigned long)totals->execs,
		      (unsigned long)totals->orphans, (unsigned long)totals->spawns, (unsigned long)totals->past,
		      (unsigned long)totals->settles, (unsigned long)totals->busy);
	print_message("# regions: %lu settles, %lu interrupted, %lu pages merged\n",
		      (unsigned long)totals->kernel_settles, (unsigned long)totals->interrupted,
		      (unsigned long)totals->merged);
	if (!fine || totals->failed) {
		print_message("# %s\n# replay: test_region_model SEED [TIMES]\n", totals->text);
		fail_msg("%s", totals->failed ? totals->text : "a worker failed");
	}
}

/* Not every machine has regions. */
bool regions_work(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	assert_errno(0, odf_capabilities_get(&capabilities));
	if (capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NONE ||
	    capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NO_REGION)
		return true;
	skip_because(odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
	return false;
}

static void test_random_programs(void **state)
{
	uint64_t seconds = number_from("ODF_TEST_SECONDS", 0), first = number_from("ODF_TEST_FIRST_SEED", 1);

	(void)state;
	if (!regions_work())
		return;
	if (only_times > 0) {
		run_workers(only_seed, only_times, 0, 0);
	} else if (seconds > 0) {
		uint32_t fresh;
		assert_int_equal(getrandom(&fresh, sizeof fresh, 0), sizeof fresh);
		first = (uint64_t)fresh << 16;
		print_message("# seeds from %" PRIu64 "\n", first);
		run_workers(first, UINT64_MAX / 2, 1, now() + (double)seconds);
	} else {
		run_workers(first, number_from("ODF_TEST_SEEDS", 2000), 1, 0);
	}
}

static void test_interposition(void **state)
{
	(void)state;
#ifdef ODF_TEST_INTERPOSED
	void *symbol;
	assert_true(is_interposed("fork", &symbol));
	for (enum way way = 0; way < WAY_COUNT; way++)
		if (!way_works[way] && !(way == WAY_CLONE && SANITIZED))
			fail_msg("%s is not interposed", way_names[way]);
#endif
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interposition),
		cmocka_unit_test(test_holders),
		cmocka_unit_test(test_exec_lets_go),
		cmocka_unit_test(test_forks_in_handlers),
		cmocka_unit_test(test_forks_past_the_library),
		cmocka_unit_test(test_memory_is_given_back),
		cmocka_unit_test(test_nothing_is_left),
		cmocka_unit_test(test_random_programs),
	};
	const struct CMUnitTest only[] = { cmocka_unit_test(test_random_programs) };

	become_nobody_if_asked(argv);
	find_ways();
	trace = number_from("ODF_TEST_TRACE", 0) != 0;
	totals = shared_memory(sizeof *totals);
	if (argc > 1) {
		only_seed = strtoull(argv[1], NULL, 0);
		only_times = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
		return cmocka_run_group_tests_name("region_model", only, NULL, NULL);
	}
	return cmocka_run_group_tests_name("region_model", tests, NULL, NULL);
}
