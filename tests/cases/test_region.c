/* SPDX-License-Identifier: MIT
 *
 * Regions: what the public functions guarantee, state by state, in parent and child; and the token's answer for every
 * kind of descendant. Regions settle by a call here (ODF_REGION_MANUAL), so that each state lasts as long as a test
 * needs it.
 */
#include "region_tests.h"

#include "../support/mappings.h"

odf_region_info info_of(const odf_region *region)
{
	odf_region_info info = ODF_REGION_INFO_INIT;

	assert_errno(0, odf_region_info_get(region, &info));
	return info;
}

uint64_t *word_at(const odf_region *region, size_t offset)
{
	return (uint64_t *)(void *)((char *)odf_region_base(region) + offset);
}

/* Every page has its number and a generation. */
void fill(odf_region *region, uint64_t generation)
{
	for (size_t at = 0; at < odf_region_capacity(region); at += PAGE)
		*word_at(region, at) = at + generation;
}

bool holds(const odf_region *region, uint64_t generation)
{
	for (size_t at = 0; at < odf_region_capacity(region); at += PAGE)
		if (*word_at(region, at) != at + generation)
			return false;
	return true;
}

/* A child that runs `code` and exits with its result. */
pid_t child_that(int (*code)(odf_region *), odf_region *region)
{
	pid_t pid = odf_fork();

	if (pid == 0)
		_exit(code(region));
	assert_true(pid > 0);
	return pid;
}

odf_region *make(size_t capacity)
{
	odf_region *region = odf_region_create(capacity, ODF_REGION_MANUAL);

	assert_non_null(region);
	return region;
}

static void refuses_what_makes_no_sense(void **state)
{
	odf_region *region;
	odf_region_info info = ODF_REGION_INFO_INIT;

	(void)state;
	errno = 0;
	assert_null(odf_region_create(0, 0));
	assert_int_equal(errno, EINVAL);
	assert_null(odf_region_create(PAGE, 0x80000000u));
	assert_int_equal(errno, EINVAL);
	assert_null(odf_region_create((size_t)1 << 60, 0));
	assert_int_equal(errno, ENOMEM);
	assert_null(odf_region_create(SIZE_MAX, 0));
	assert_int_equal(errno, ENOMEM);
	errno = 7;
	region = make(3 * PAGE);
	assert_int_equal(errno, 7);
	assert_errno(EINVAL, odf_region_discard(region, (char *)odf_region_base(region) + 1, PAGE));
	assert_errno(EINVAL, odf_region_discard(region, (char *)odf_region_base(region) - PAGE, PAGE));
	assert_errno(EINVAL, odf_region_discard(region, odf_region_base(region), 4 * PAGE));
	assert_errno(EINVAL, odf_region_discard(region, (char *)odf_region_base(region) + PAGE, SIZE_MAX));
	assert_errno(0, odf_region_discard(region, odf_region_base(region), 0));
	assert_errno(0, odf_region_discard(region, (char *)odf_region_base(region) + 2 * PAGE, 1)); /* rounded up */
	assert_errno(EINVAL, odf_region_discard(NULL, NULL, 0));
	assert_errno(EINVAL, odf_region_settle(NULL));
	assert_errno(EINVAL, odf_region_destroy(NULL));
	assert_errno(EINVAL, odf_region_info_get(region, NULL));
	assert_errno(EINVAL, odf_region_info_get(NULL, &info));
	info.size = 4;
	assert_errno(EINVAL, odf_region_info_get(region, &info));
	assert_errno(0, odf_region_destroy(region));
}

int sees_generation_1(odf_region *region)
{
	return holds(region, 1) ? 0 : 1;
}

static int sees_and_overwrites(odf_region *region)
{
	if (!holds(region, 1))
		return 1;
	fill(region, 99);
	return holds(region, 99) ? 0 : 2;
}

static void any_size(void **state)
{
	static const size_t sizes[] = {
		1, PAGE, 3 * PAGE, 2 * MIB - PAGE, 2 * MIB, 2 * MIB + PAGE, 5 * MIB + 3 * PAGE, 64 * MIB,
	};

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		odf_region *region = make(sizes[i]);
		size_t rounded = (sizes[i] + PAGE - 1) / PAGE * PAGE;
		assert_int_equal(odf_region_capacity(region), rounded);
		assert_int_equal((uintptr_t)odf_region_base(region) % PAGE, 0);
		for (size_t at = 0; at < rounded; at += sizeof(uint64_t))
			if (*word_at(region, at) != 0)
				fail();
		fill(region, 1);
		for (int round = 0; round < 3; round++) {
			pid_t pid = child_that(sees_and_overwrites, region);
			assert_true(holds(region, 1));
			must_exit_with(pid, 0);
			*word_at(region, rounded - PAGE) += 0;
			if (round != 1)
				assert_errno(0, odf_region_settle(region));
			assert_true(holds(region, 1));
		}
		assert_errno(0, odf_region_destroy(region));
	}
}

/* Terabytes of address space. Only some pages are used: at both ends and around the borders of the largest moves. */
static void sparse_terabytes(void **state)
{
	static const size_t offsets[] = {
		0, 1024 * MIB - PAGE, 1024 * MIB, 700001 * MIB, 4096 * (size_t)1024 * MIB - PAGE,
	};
	odf_region *region = make(4096 * (size_t)1024 * MIB);
	pid_t pid;

	(void)state;
	for (int round = 1; round <= 3; round++) {
		for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
			*word_at(region, offsets[i]) = offsets[i] + (size_t)round;
		pid = odf_fork();
		if (pid == 0) {
			for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
				if (*word_at(region, offsets[i]) != offsets[i] + (size_t)round)
					_exit(1);
			_exit(*word_at(region, 5 * MIB) == 0 ? 0 : 2);
		}
		for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
			*word_at(region, offsets[i]) = 0;
		must_exit_with(pid, 0);
		assert_errno(0, odf_region_settle(region));
	}
	/* One page for each place, or one large page if the machine gives large ones. */
	assert_true(info_of(region).resident_bytes < 16 * MIB);
	assert_errno(0, odf_region_destroy(region));
}

/* Whether a file of the library's is named. (The path of this program may contain the project's name.) */
static bool names_a_file(const char *text)
{
	return strstr(text, "odfork-region") != NULL || strstr(text, "odfork-token") != NULL;
}

static void use_and_destroy(void)
{
	odf_region *one = make(4 * MIB), *two = make(PAGE);
	pid_t pid;

	fill(one, 1);
	/* The program has no descriptor that it could lose. */
	for (int fd = 3; fd < 64; fd++) {
		char path[64], target[256] = "";
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof target - 1) > 0)
			assert_false(names_a_file(target));
	}
	pid = child_that(sees_generation_1, one);
	must_exit_with(pid, 0);
	assert_errno(0, odf_region_destroy(one));
	assert_errno(0, odf_region_settle(two));
	assert_errno(0, odf_region_destroy(two));
}

static void leaves_nothing_behind(void **state)
{
	enum { TIMES = 20 };
	struct surroundings before = surroundings_take();
	char *maps;
	int mappings;

	(void)state;
	use_and_destroy();
	/* What libc and a sanitizer have mapped for themselves by now stays; only what each round leaves behind
	 * counts. */
	mappings = count_mappings();
	for (int i = 0; i < TIMES; i++)
		use_and_destroy();
	assert_true(count_mappings() < mappings + TIMES);
	maps = read_file("/proc/self/maps");
	assert_false(names_a_file(maps));
	surroundings_must_equal(&before);
	free(maps);
}

static void counts_what_happens(void **state)
{
	odf_region *region = make(8 * MIB);
	odf_region_info info = info_of(region);
	pid_t pid;

	(void)state;
	assert_int_equal(info.state, ODF_REGION_LIVE);
	assert_int_equal(info.settling, ODF_REGION_SETTLES_BY_CALL);
	assert_int_equal(info.capacity, 8 * MIB);
	assert_int_equal(info.live_bytes, 8 * MIB);
	assert_int_equal(info.resident_bytes, 0);
	fill(region, 1);
	assert_int_equal(info_of(region).resident_bytes, 8 * MIB);
	pid = child_that(sees_generation_1, region);
	info = info_of(region);
	assert_int_equal(info.state, ODF_REGION_FROZEN);
	assert_int_equal(info.freezes, 1);
	assert_int_equal(info.live_bytes, 0);
	assert_int_equal(info.private_bytes, 0);
	assert_true(info.last_freeze_ns > 0);
	for (size_t page = 0; page < 10; page++)
		*word_at(region, page * 37 * PAGE) = page * 37 * PAGE + 1;
	assert_int_equal(info_of(region).private_bytes, 10 * PAGE);
	must_exit_with(pid, 0);
	pid = child_that(sees_generation_1, region);
	must_exit_with(pid, 0);
	assert_int_equal(info_of(region).freezes, 1); /* it was FROZEN */
	assert_errno(0, odf_region_settle(region));
	info = info_of(region);
	assert_int_equal(info.state, ODF_REGION_LIVE);
	assert_int_equal(info.settles, 1);
	assert_true(info.merged_pages >= 10);
	assert_true(info.steps >= 1);
	assert_true(info.longest_pause_ns >= info.last_pause_ns && info.last_pause_ns > 0);
	assert_int_equal(info.private_bytes, 0);
	assert_int_equal(info.resident_bytes, 8 * MIB);
	assert_errno(0, odf_region_settle(region)); /* nothing to do */
	assert_int_equal(info_of(region).settles, 1);
	assert_true(holds(region, 1));
	assert_errno(0, odf_region_destroy(region));
}

/* The keeper settles by itself, where it can. The timeout says nothing about its speed. */
static void settles_by_itself(void **state)
{
	odf_region *region = odf_region_create(16 * MIB, 0);
	pid_t pid;

	(void)state;
	assert_non_null(region);
	if (info_of(region).settling != ODF_REGION_SETTLES_ALWAYS) {
		odf_region_destroy(region);
		skip_because("userfaultfd does not serve the kernel's faults here");
		return;
	}
	fill(region, 1);
	for (int round = 0; round < 5; round++) {
		pid = child_that(sees_and_overwrites, region);
		fill(region, 1);
		must_exit_with(pid, 0);
		for (int wait = 0; info_of(region).state != ODF_REGION_LIVE && wait < 10000; wait++)
			usleep(1000);
		assert_int_equal(info_of(region).state, ODF_REGION_LIVE);
		assert_true(holds(region, 1));
	}
	assert_errno(0, odf_region_destroy(region));
}

static void several_regions(void **state)
{
	odf_region *regions[8];
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		regions[i] = make((i + 1) * MIB + i * PAGE);
		fill(regions[i], i);
	}
	for (int round = 0; round < 4; round++) {
		pid = odf_fork();
		if (pid == 0) {
			for (size_t i = 0; i < 8; i++)
				if (!holds(regions[i], i))
					_exit((int)i + 1);
			_exit(0);
		}
		for (size_t i = 0; i < 8; i++)
			fill(regions[i], i);
		must_exit_with(pid, 0);
		/* Some are settled, some stay FROZEN, one is made anew. */
		for (size_t i = (size_t)round % 2; i < 8; i += 2)
			assert_errno(0, odf_region_settle(regions[i]));
		assert_errno(0, odf_region_destroy(regions[round]));
		regions[round] = make(MIB);
		fill(regions[round], (uint64_t)round);
	}
	for (size_t i = 0; i < 8; i++) {
		assert_true(holds(regions[i], i));
		assert_errno(0, odf_region_destroy(regions[i]));
	}
}

/* The report shows it, and so does the recorded strategy. */
static void the_report_names_regions(void **state)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_region *region = make(MIB);
	pid_t pid = odf_fork_with(&options, &report);

	(void)state;
	if (pid == 0)
		_exit(0);
	must_exit_with(pid, 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_REGION);
	assert_int_equal(report.reason[ODF_STRATEGY_REGION], ODF_REASON_CHOSEN);
	assert_int_equal(report.reason[ODF_STRATEGY_FORK], ODF_REASON_BETTER_CHOSEN);
	/* Whatever is allowed, LIVE memory cannot be inherited. */
	fill(region, 1);
	assert_errno(0, odf_region_settle(region));
	options.allow = ODF_ALLOW(ODF_STRATEGY_FORK);
	pid = odf_fork_with(&options, &report);
	if (pid == 0)
		_exit(holds(region, 1) ? 0 : 1);
	must_exit_with(pid, 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_FORK);
	assert_errno(0, odf_region_destroy(region));
	pid = odf_fork_with(NULL, &report);
	if (pid == 0)
		_exit(0);
	must_exit_with(pid, 0);
	assert_int_equal(report.reason[ODF_STRATEGY_REGION], ODF_REASON_NO_REGION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_makes_no_sense), cmocka_unit_test(any_size),
		cmocka_unit_test(sparse_terabytes),            cmocka_unit_test(leaves_nothing_behind),
		cmocka_unit_test(counts_what_happens),         cmocka_unit_test(settles_by_itself),
		cmocka_unit_test(every_kind_of_descendant),    cmocka_unit_test(raw_clone_of_frozen),
		cmocka_unit_test(raw_clone_of_live),           cmocka_unit_test(in_another_pid_namespace),
		cmocka_unit_test(a_child_has_ordinary_memory), cmocka_unit_test(discard_live),
		cmocka_unit_test(discard_frozen),              cmocka_unit_test(discard_again_and_again),
		cmocka_unit_test(zeros_take_no_memory),        cmocka_unit_test(several_regions),
		cmocka_unit_test(the_report_names_regions),    cmocka_unit_test(under_mlockall),
		cmocka_unit_test(overlapping_children_hold_nothing_twice),
	};

	if (!regions_are_here())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
