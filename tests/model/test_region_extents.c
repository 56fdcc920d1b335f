/* SPDX-License-Identifier: MIT
 *
 * Compares the heap's kind of region with a model. Random programs take, give, cut, discard, lose and protect parts of
 * a region from region_make_bare, write, fork and settle. An oracle has, for each page, its kind, its contents and its
 * access rights. After each step the region's list must agree with the oracle, and be sorted and merged; all bytes must
 * be equal; holes and memory without rights must not be accessible; memory that is taken again must be zero; and
 * children must inherit what they may inherit, and nothing else. Children check their parents' memory, live for a
 * while, write, fork, and check it again. At the end all is given back, and the file must be empty.
 *
 *   test_region_extents SEED [TIMES]     that seed only, this many times (1)
 *
 * ODF_TEST_SEEDS: how many seeds (100). ODF_TEST_FIRST_SEED: the first one (1). ODF_TEST_SECONDS: runs new seeds for
 * this long instead. ODF_TEST_TRACE=1 prints each step. ODF_TEST_NOBODY=1 gives up root first, so that regions settle
 * only by a call and during a fork. With odd seeds another region exists first, and with it the keeper; with even ones
 * the first fork starts the keeper.
 *
 * What a process does follows from the seed and its path in the tree of forks. The keeper, where it settles by itself,
 * runs at times of its own.
 */
#include "list_model.h"
#include "region_extents.h"

struct board *board;

/* ---- All seeds --------------------------------------------------------------------------------------------------- */

static volatile pid_t running[2];

static void end_of_patience(int unused)
{
	(void)unused;
	for (int i = 0; i < 2; i++)
		if (running[i] > 0)
			kill(running[i], SIGKILL);
}

/* Runs two seeds at a time. False: a seed failed. */
static bool run_seeds(uint64_t first, uint64_t count, uint64_t increment, double end)
{
	uint64_t next = 0, seeds[2] = { 0 };
	unsigned busy = 0;

	signal(SIGALRM, end_of_patience);
	while ((next < count && (end == 0 || now() < end)) || busy > 0) {
		int status;
		pid_t pid;
		for (int i = 0; i < 2; i++)
			if (running[i] == 0 && next < count && (end == 0 || now() < end)) {
				seeds[i] = first + increment * next++;
				fflush(stdout);
				pid = fork();
				assert_true(pid >= 0);
				if (pid == 0)
					run_seed(seeds[i]);
				running[i] = pid;
				busy++;
			}
		alarm(GUARD_SECONDS);
		pid = wait(&status);
		alarm(0);
		for (int i = 0; i < 2; i++)
			if (running[i] == pid) {
				running[i] = 0;
				busy--;
				atomic_fetch_add(&board->seeds, 1);
				if (status == 0)
					continue;
				print_message("# seed %" PRIu64 ": %s %s\n", seeds[i],
					      WIFSIGNALED(status)
						      ? (WTERMSIG(status) == SIGKILL ? "hangs"
										     : strsignal(WTERMSIG(status)))
						      : "",
					      board->text);
				count = 0;
			}
		if (count == 0 && busy > 0)
			end_of_patience(0);
	}
	signal(SIGALRM, SIG_DFL);
	print_message("# %lu seeds, %lu processes, %lu steps; settled %lu times, %lu times a child had the snapshot; "
		      "%lu places not to be had at the moment, "
		      "%lu lost\n",
		      board->seeds, board->processes + board->seeds, board->steps, board->settles, board->busy,
		      board->again, board->foreign);
	return count != 0;
}

static uint64_t only_seed, only_times;

static void test_extents(void **state)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	uint64_t seconds = number_from("ODF_TEST_SECONDS", 0);

	(void)state;
	assert_errno(0, odf_capabilities_get(&capabilities));
	if (capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE &&
	    capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NO_REGION) {
		skip_because(odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
		return;
	}
	if (only_times > 0) {
		assert_true(run_seeds(only_seed, only_times, 0, 0));
	} else if (seconds > 0) {
		uint32_t fresh;
		assert_int_equal(getrandom(&fresh, sizeof fresh, 0), sizeof fresh);
		print_message("# seeds from %" PRIu64 "\n", (uint64_t)fresh << 16);
		assert_true(run_seeds((uint64_t)fresh << 16, UINT64_MAX / 2, 1, now() + (double)seconds));
	} else {
		assert_true(run_seeds(number_from("ODF_TEST_FIRST_SEED", 1), number_from("ODF_TEST_SEEDS", 100), 1, 0));
	}
	assert_true(only_times > 0 ||
		    (board->settles > 0 && board->busy > 0 && board->again > 0 && board->foreign > 0));
}

/* The list alone, with more extents than a region here has. ODF_TEST_SCALE multiplies the rounds. */
static void test_list(void **state)
{
	uint64_t scale = number_from("ODF_TEST_SCALE", 1);

	(void)state;
	for (uint64_t seed = 1; seed <= 2 * scale; seed++) {
		const char *wrong = list_model_changes(seed, 12);
		if (wrong == NULL)
			wrong = list_model_readers(seed, 5000);
		if (wrong == NULL)
			wrong = list_model_clones(seed, 12);
		if (wrong != NULL)
			fail_msg("seed %" PRIu64 ": %s", seed, wrong);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_list), cmocka_unit_test(test_extents) };

	become_nobody_if_asked(argv);
	trace = number_from("ODF_TEST_TRACE", 0) != 0;
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		return 2;
	if (argc > 1) {
		only_seed = strtoull(argv[1], NULL, 0);
		only_times = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	}
	return cmocka_run_group_tests_name("region extents", tests, NULL, NULL);
}
