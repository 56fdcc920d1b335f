/* SPDX-License-Identifier: MIT
 *
 * Tests of test_region_model: nothing is left behind when a region is destroyed, and the memory that snapshots took is
 * given back.
 */
#include "region_model.h"

static size_t count_lines(const char *path)
{
	char *text = read_file(path);
	size_t count = 0;

	assert_non_null(text);
	for (const char *c = text; *c != '\0'; c++)
		count += *c == '\n';
	free(text);
	return count;
}

static size_t count_threads(void)
{
	char *text = read_file("/proc/self/status"), *line;
	size_t count;

	assert_non_null(text);
	line = strstr(text, "\nThreads:");
	assert_non_null(line);
	count = strtoul(line + 9, NULL, 10);
	free(text);
	return count;
}

static void cycle(unsigned round)
{
	odf_region *regions[3];
	pid_t pid;

	for (int i = 0; i < 3; i++) {
		size_t size = (size_t)(1 + round * 7 % 300) * PAGE << 4 * i;
		regions[i] = odf_region_create(size, round % 3 == 0 ? ODF_REGION_MANUAL : 0);
		assert_non_null(regions[i]);
		memset(odf_region_base(regions[i]), 1, PAGE);
	}
	for (int i = 0; i < 3; i++) {
		pid = i == 1 ? odf_fork() : fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			unsigned char *base = odf_region_base(regions[i]);
			let_signals_kill();
			base[1] = 2;
			_exit(base[0] == 1 && odf_region_destroy(regions[i]) == 0 ? 0 : 1);
		}
		memset(odf_region_base(regions[i]), 3, PAGE);
		if (round % 2 == 0)
			assert_errno(0, odf_region_discard(regions[i], odf_region_base(regions[i]), PAGE));
		if (round % 4 == 1)
			assert_errno(0, odf_region_destroy(regions[i])); /* while the child still has it */
		must_exit_with(pid, 0);
		if (round % 4 != 1 && round % 2 == 0)
			odf_region_settle(regions[i]);
	}
	if (round % 4 != 1)
		for (int i = 0; i < 3; i++)
			assert_errno(0, odf_region_destroy(regions[i]));
}

void test_nothing_is_left(void **state)
{
	size_t threads, maps;
	struct surroundings before;

	(void)state;
	if (!regions_work())
		return;
	/* libc caches the stacks of ended threads, and the library may cache memory for the next region. */
	for (unsigned round = 0; round < 24; round++)
		cycle(round);
	usleep(100000);
	before = surroundings_take();
	threads = count_threads();
	maps = count_lines("/proc/self/maps");
	for (unsigned round = 0; round < 120; round++)
		cycle(round);
	for (int patience = 2000; patience > 0; patience--) {
		if (count_threads() <= threads && count_lines("/proc/self/maps") <= maps)
			break;
		usleep(10000);
	}
	assert_true(count_threads() <= threads);
	/* One thread stack more or less, with its guard page. */
	assert_true(count_lines("/proc/self/maps") <= maps + 2);
	surroundings_must_equal(&before);
	must_have_no_children();
}

/* A line of /proc/self/status, in KiB. */
static size_t own_kilobytes(void)
{
	char *text = read_file("/proc/self/status"), *line;
	size_t count;

	assert_non_null(text);
	line = strstr(text, "\nRssAnon:");
	assert_non_null(line);
	count = strtoul(line + 9, NULL, 10);
	free(text);
	return count;
}

/* Memory that a FROZEN region held twice is held once after the settle, and discarded memory is free. */
void test_memory_is_given_back(void **state)
{
	enum { SIZE = 64 << 20, SLACK = 8 << 20 };
	struct word *word = shared_memory(sizeof *word);
	odf_region *region;
	unsigned char *base;
	size_t before;
	int go[2];
	pid_t pid;

	(void)state;
	if (!regions_work() || !settling_by_call_works())
		return;
	region = odf_region_create(SIZE, ODF_REGION_MANUAL);
	assert_non_null(region);
	base = odf_region_base(region);
	memset(base, 1, SIZE);
	before = own_kilobytes();
	assert_true(get_info(region).resident_bytes >= SIZE);
	fill(base, 1); /* for the holder, which checks the first pages */
	for (size_t page = 0; page < PAGES; page++)
		for (size_t i = 0; i < PAGE; i++)
			if (i % 512 >= 8)
				base[page * PAGE + i] = 0;
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = make_holder(HOLDS_CHILD, base, word, go);
	memset(base, 2, SIZE);
	assert_true(get_info(region).private_bytes >= SIZE && own_kilobytes() >= before + (SIZE - SLACK) / 1024);
	assert_errno(0, odf_region_discard(region, base, SIZE / 2));
	assert_int_equal(write(go[1], "g", 1), 1);
	must_exit_with(pid, 0);
	assert_int_equal(word->verdict, 1);
	must_settle(region);
	/* The keeper may drop its copies after it has reported the settle. */
	for (int patience = 2000; patience > 0 && own_kilobytes() > before + SLACK / 1024; patience--)
		usleep(5000);
	assert_true(own_kilobytes() <= before + SLACK / 1024);
	assert_true(get_info(region).resident_bytes <= SIZE / 2 + SLACK && get_info(region).private_bytes == 0);
	assert_errno(0, odf_region_discard(region, base + SIZE / 2, SIZE / 4));
	assert_true(get_info(region).resident_bytes <= SIZE / 4 + SLACK);
	for (size_t i = 0; i < SIZE; i += 512)
		assert_int_equal(base[i], i < SIZE / 4 * 3 ? 0 : 2);
	assert_errno(0, odf_region_destroy(region));
	close(go[0]);
	close(go[1]);
	munmap(word, sizeof *word);
}
