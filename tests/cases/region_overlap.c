/* SPDX-License-Identifier: MIT
 *
 * Tests of test_region: children that overlap, so that nothing can settle. What the process has written since the
 * oldest child was made is held twice, as without the library; what it wrote before is not.
 */
#include "region_tests.h"

#include <time.h>

#define PAGES      ((size_t)16384)
#define WRITTEN    ((size_t)1300) /* pages, before each fork */
#define DISCARDED  ((size_t)32)
#define DEADLINE_S 60

static struct area {
	odf_region *region;
	uint32_t version[PAGES]; /* the version of each page; 0: zeros */
} area;

static struct board {
	_Atomic int looks, faults;
} *board;

static char *page_at(size_t page)
{
	return (char *)odf_region_base(area.region) + page * PAGE;
}

static void put(size_t page)
{
	uint32_t version = ++area.version[page];

	memcpy(page_at(page), &version, sizeof version);
	memcpy(page_at(page) + PAGE - sizeof version, &version, sizeof version);
}

static void look(void)
{
	for (size_t page = 0; page < PAGES; page++)
		board->faults += memcmp(page_at(page), &area.version[page], sizeof(uint32_t)) != 0 ||
				 memcmp(page_at(page) + PAGE - sizeof(uint32_t), &area.version[page],
					sizeof(uint32_t)) != 0;
	board->looks++;
}

static void discard(size_t first)
{
	if (odf_region_discard(area.region, page_at(first), DISCARDED * PAGE) != 0)
		board->faults++;
	memset(area.version + first, 0, DISCARDED * sizeof area.version[0]);
}

/* Lives until the pipe is closed. Every third child has a child that outlives it, every fourth gives memory back
 * twice. */
static void live(int round, int pipe_end)
{
	char byte;

	if (round % 4 == 0)
		discard((size_t)random() % (PAGES - DISCARDED));
	while (read(pipe_end, &byte, 1) < 0 && errno == EINTR)
		;
	look();
	if (round % 4 == 0)
		discard((size_t)random() % (PAGES - DISCARDED));
	if (round % 3 == 0 && fork() > 0)
		_exit(0);
	look();
	_exit(0);
}

struct child {
	pid_t pid;
	int pipe_end;
};

static struct child make_child(int round, int others)
{
	struct child child;
	int ends[2];

	assert_errno(0, pipe2(ends, O_CLOEXEC));
	child.pid = fork();
	if (child.pid == 0) {
		close(ends[1]);
		if (others >= 0)
			close(others);
		live(round, ends[0]);
	}
	assert_true(child.pid > 0);
	close(ends[0]);
	child.pipe_end = ends[1];
	return child;
}

static void end_child(struct child child)
{
	close(child.pipe_end);
	must_exit_with(child.pid, 0);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void overlapping_children_hold_nothing_twice(void **state)
{
	const size_t size = PAGES * PAGE, enough = size + size / 4;
	struct child last = { -1, -1 };
	odf_region_info info;
	double start = seconds();
	int rounds = 0, expected = 0;

	(void)state;
	area.region = odf_region_create(size, 0);
	assert_non_null(area.region);
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(board != MAP_FAILED);
	if (info_of(area.region).settling == ODF_REGION_SETTLES_NEVER) {
		skip_because("regions do not settle here");
		munmap(board, sizeof *board);
		assert_errno(0, odf_region_destroy(area.region));
		return;
	}
	srandom(1);
	for (size_t page = 0; page < PAGES; page++)
		put(page);
	do {
		struct child next;
		for (size_t i = 0; i < WRITTEN; i++)
			put((size_t)random() % PAGES);
		if (rounds % 5 == 4)
			discard((size_t)random() % (PAGES - DISCARDED));
		next = make_child(rounds, last.pipe_end);
		if (last.pid > 0)
			end_child(last);
		last = next;
		expected += 2; /* a child that makes one of its own leaves the second check to that */
		rounds++;
		usleep(5000);
		info = info_of(area.region);
	} while ((info.private_bytes < size / 4 * 3 || info.resident_bytes + info.private_bytes > enough) &&
		 seconds() - start < DEADLINE_S);
	assert_in_range(info.private_bytes, size / 4 * 3, size);
	assert_in_range(info.resident_bytes + info.private_bytes, 0, enough);
	end_child(last);
	for (start = seconds(); board->looks < expected && seconds() - start < DEADLINE_S;)
		usleep(1000);
	look();
	assert_int_equal(board->looks, expected + 1);
	assert_int_equal(board->faults, 0);
	/* And at the end it settles. */
	for (start = seconds(); odf_region_settle(area.region) != 0 && seconds() - start < DEADLINE_S;)
		usleep(1000);
	assert_int_equal(info_of(area.region).state, ODF_REGION_LIVE);
	look();
	assert_int_equal(board->faults, 0);
	munmap(board, sizeof *board);
	assert_errno(0, odf_region_destroy(area.region));
}
