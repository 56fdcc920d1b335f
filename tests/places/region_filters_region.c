/* SPDX-License-Identifier: MIT
 *
 * The region of test_region_filters, forks of it, and the states that it must reach.
 */
#include "region_filters.h"

odf_region *region;
static volatile uint64_t *base;
static unsigned generation; /* of all pages */

void fill(void)
{
	generation++;
	for (size_t page = 0; page < PAGES; page++)
		base[page * WORDS] = base[page * WORDS + WORDS - 1] = generation * 100000ull + page;
}

bool holds(void)
{
	for (size_t page = 0; page < PAGES; page++)
		if (base[page * WORDS] != generation * 100000ull + page ||
		    base[page * WORDS + WORDS - 1] != generation * 100000ull + page)
			return false;
	return true;
}

void make_region(unsigned flags)
{
	region = odf_region_create((size_t)PAGES * PAGE, flags);
	REQUIRE(region != NULL);
	base = odf_region_base(region);
	fill();
}

odf_region_info info(void)
{
	odf_region_info found = ODF_REGION_INFO_INIT;

	REQUIRE(odf_region_info_get(region, &found) == 0);
	return found;
}

/* A child that checks the old contents and writes what its parent must not see, while its parent rewrites
 * everything. */
pid_t start_child(int hold)
{
	pid_t pid = odf_fork();

	if (pid == 0) {
		char byte;
		REQUIRE(holds());
		for (size_t page = 0; page < PAGES; page += 3)
			base[page * WORDS] = 0;
		for (size_t page = 1; page < PAGES; page += 3)
			REQUIRE(base[page * WORDS] == generation * 100000ull + page);
		if (hold >= 0 && read(hold, &byte, 1) != 0)
			_exit(1);
		_exit(0);
	}
	return pid;
}

bool ends_well(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && status == 0;
}

void fork_and_check(void)
{
	pid_t pid = start_child(-1);

	REQUIRE(pid > 0);
	fill();
	REQUIRE(ends_well(pid) && holds());
}

void fork_through_libc(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(holds() ? 0 : 1);
	REQUIRE(pid > 0 && ends_well(pid) && holds());
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* By itself or by a call. */
void must_settle(bool itself)
{
	time_t end = now() + DEADLINE;

	while (info().state != ODF_REGION_LIVE) {
		REQUIRE(now() < end);
		if (!itself)
			(void)odf_region_settle(region);
		usleep(1000);
	}
	REQUIRE(holds());
}

/* A fork of a single-threaded process settles once that is worthwhile, if little is written between two forks. It must
 * happen within the deadline. */
void forks_must_settle(void)
{
	time_t end = now() + DEADLINE;

	fill();
	while (info().settles == 0) {
		pid_t pid = start_child(-1);
		REQUIRE(pid > 0 && ends_well(pid) && holds() && now() < end);
	}
	fork_through_libc();
}

void check_discards(void)
{
	REQUIRE(odf_region_discard(region, (char *)odf_region_base(region) + 64 * PAGE, 64 * PAGE) == 0);
	REQUIRE(odf_region_discard(region, (char *)odf_region_base(region) + 200 * PAGE, 2 * PAGE) == 0);
	for (size_t page = 64; page < 128; page++)
		REQUIRE(base[page * WORDS] == 0 && base[page * WORDS + WORDS - 1] == 0);
	REQUIRE(base[200 * WORDS] == 0 && base[202 * WORDS] != 0 && base[63 * WORDS] != 0);
	fill();
	REQUIRE(holds());
}

odf_reason reason(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	REQUIRE(odf_capabilities_get(&capabilities) == 0);
	return capabilities.strategy[ODF_STRATEGY_REGION];
}
