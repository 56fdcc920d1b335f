/* SPDX-License-Identifier: MIT
 *
 * Tests of test_region: discarded memory, zeros, and locked memory.
 */
#include "region_tests.h"

static int sees_what_was(odf_region *region)
{
	wait_at_gate();
	return holds(region, 1) ? 0 : 1;
}

static bool zeros(const odf_region *region, size_t from, size_t end)
{
	for (size_t at = from; at < end; at += sizeof(uint64_t))
		if (*word_at(region, at) != 0)
			return false;
	return true;
}

void discard_live(void **state)
{
	odf_region *region = make(32 * MIB);
	char *base = odf_region_base(region);

	(void)state;
	fill(region, 1);
	assert_errno(0, odf_region_discard(region, base + MIB, 9 * MIB + PAGE));
	assert_true(info_of(region).resident_bytes <= 23 * MIB);
	assert_true(zeros(region, MIB, 10 * MIB + PAGE));
	assert_int_equal(*word_at(region, MIB - PAGE), MIB - PAGE + 1);
	assert_int_equal(*word_at(region, 10 * MIB + PAGE), 10 * MIB + PAGE + 1);
	assert_errno(0, odf_region_discard(region, base, 32 * MIB));
	assert_true(info_of(region).resident_bytes == 0);
	assert_errno(0, odf_region_destroy(region));
}

/* A descendant has the old contents, and the parent has zeros at once. The memory is free when the descendant has
 * ended. */
void discard_frozen(void **state)
{
	static const size_t sizes[] = { PAGE, 7 * PAGE, 8 * PAGE, 100 * PAGE, 2 * MIB, 5 * MIB + PAGE };

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		odf_region *region = make(32 * MIB + PAGE);
		char *base = odf_region_base(region);
		size_t from = 3 * MIB + 5 * PAGE, end = from + sizes[i];
		uint64_t resident;
		pid_t pid;

		fill(region, 1);
		resident = info_of(region).resident_bytes;
		/* All of the large page that the machine may give. */
		assert_in_range(resident, 32 * MIB + PAGE, 34 * MIB);
		assert_int_equal(pipe(gate), 0);
		pid = child_that(sees_what_was, region);
		*word_at(region, from) = 17; /* a private page over it */
		assert_errno(0, odf_region_discard(region, base + from, sizes[i]));
		assert_true(zeros(region, from, end));
		assert_int_equal(info_of(region).resident_bytes, resident); /* the frozen file is not touched */
		*word_at(region, from + sizes[i] / PAGE / 2 * PAGE) = 4711;
		assert_int_equal(*word_at(region, from - PAGE), from - PAGE + 1);
		assert_int_equal(*word_at(region, end), end + 1);
		open_gate();
		must_exit_with(pid, 0);
		assert_errno(0, odf_region_settle(region));
		/* one page was written again */
		assert_int_equal(info_of(region).resident_bytes, resident - sizes[i] + PAGE);
		assert_int_equal(*word_at(region, from + sizes[i] / PAGE / 2 * PAGE), 4711);
		*word_at(region, from + sizes[i] / PAGE / 2 * PAGE) = 0;
		assert_true(zeros(region, from, end));
		assert_int_equal(*word_at(region, end), end + 1);
		assert_errno(0, odf_region_destroy(region));
	}
}

/* Again and again, all of it, with forks in between: neither mappings nor memory accumulate. */
void discard_again_and_again(void **state)
{
	odf_region *region = make(8 * MIB);
	char *base = odf_region_base(region), *maps;
	size_t lines = 0;

	(void)state;
	for (int round = 0; round < 50; round++) {
		fill(region, 1);
		must_exit_with(child_that(sees_generation_1, region), 0);
		for (size_t at = 0; at < 8 * MIB; at += 16 * PAGE)
			assert_errno(0, odf_region_discard(region, base + at, 8 * PAGE));
		assert_errno(0, odf_region_discard(region, base, 8 * MIB));
		assert_true(zeros(region, 0, 8 * MIB));
		if (round % 10 == 9) {
			assert_errno(0, odf_region_settle(region));
			assert_int_equal(info_of(region).resident_bytes, 0);
		}
	}
	maps = read_file("/proc/self/maps");
	for (char *at = maps; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_true(lines < 200);
	free(maps);
	assert_errno(0, odf_region_destroy(region));
}

/* Freed memory stays free across a fork and its settle: zeros are not written back. */
void zeros_take_no_memory(void **state)
{
	odf_region *region = make(16 * MIB);

	(void)state;
	fill(region, 1);
	must_exit_with(child_that(sees_generation_1, region), 0);
	memset(odf_region_base(region), 0, 16 * MIB);
	assert_errno(0, odf_region_settle(region));
	assert_int_equal(info_of(region).resident_bytes, 0);
	assert_true(zeros(region, 0, 16 * MIB));
	assert_errno(0, odf_region_destroy(region));
}

/* The kernel then populates new mappings at once, and with MCL_CURRENT all existing ones: also the one that becomes
 * home at the next freeze. */
static int lives_with_mlockall(int before, int after)
{
	odf_region *region;
	pid_t pid;

	if (before != 0 && mlockall(before) != 0)
		return 77;
	region = odf_region_create(8 * MIB, ODF_REGION_MANUAL);
	if (region == NULL)
		return 77; /* because of RLIMIT_MEMLOCK */
	if (before != 0 && info_of(region).resident_bytes != 0)
		return 1;
	fill(region, 1);
	if (after != 0 && mlockall(after) != 0)
		return 77;
	for (uint64_t round = 1; round < 4; round++) {
		fill(region, round);
		pid = odf_fork();
		if (pid == 0)
			_exit(holds(region, round) ? 0 : 1);
		if (!holds(region, round) || wait_for(pid) != 0 || !holds(region, round))
			return 2;
		fill(region, round + 10);
		if (odf_region_settle(region) != 0 || !holds(region, round + 10))
			return 3;
	}
	return odf_region_destroy(region);
}

void under_mlockall(void **state)
{
	static const int flags[][2] = {
		{ MCL_FUTURE, 0 },
		{ 0, MCL_FUTURE },
		{ 0, MCL_CURRENT },
		{ MCL_CURRENT | MCL_FUTURE, MCL_CURRENT },
		{ MCL_FUTURE | MCL_ONFAULT, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		pid_t pid = fork();
		int result;
		if (pid == 0)
			_exit(lives_with_mlockall(flags[i][0], flags[i][1]));
		result = exit_status_of(pid);
		if (result == 77) {
			skip_because("memory may not be locked here");
			return;
		}
		assert_int_equal(result, 0);
	}
}
