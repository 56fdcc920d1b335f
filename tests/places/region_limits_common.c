/* SPDX-License-Identifier: MIT
 *
 * The base of the cases of region_limits: a region, forks of it, and its recovery.
 */
#include "region_limits.h"

void skip(const char *reason)
{
	dprintf(1, "skipped: %s\n", reason);
	_exit(77);
}

/* ---- A region and its contents ----------------------------------------------------------------------------------- */

odf_region *region;
volatile uint64_t *base;
size_t pages;
static unsigned generation;

void fill(void)
{
	generation++;
	for (size_t page = 0; page < pages; page++)
		base[page * WORDS] = base[page * WORDS + WORDS - 1] = generation * 1000000ull + page;
}

bool holds(void)
{
	for (size_t page = 0; page < pages; page++)
		if (base[page * WORDS] != generation * 1000000ull + page ||
		    base[page * WORDS + WORDS - 1] != generation * 1000000ull + page)
			return false;
	return true;
}

void make_region(size_t size)
{
	region = odf_region_create(size, 0);
	REQUIRE(region != NULL);
	base = odf_region_base(region);
	pages = size / PAGE;
	fill();
}

odf_region_info info(void)
{
	odf_region_info found = ODF_REGION_INFO_INIT;

	REQUIRE(odf_region_info_get(region, &found) == 0);
	return found;
}

odf_reason reason(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	REQUIRE(odf_capabilities_get(&capabilities) == 0);
	return capabilities.strategy[ODF_STRATEGY_REGION];
}

bool ends_well(pid_t pid)
{
	int status;

	REQUIRE(waitpid(pid, &status, 0) == pid);
	if (status != 0)
		dprintf(2, "wait status %#x\n", (unsigned)status);
	return status == 0;
}

/* Returns 0, or fork's errno. */
int fork_and_check(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (!holds())
			_exit(1);
		for (size_t page = 0; page < pages; page += 7)
			base[page * WORDS] = 0;
		_exit(0);
	}
	if (pid < 0) {
		int error = errno;
		REQUIRE(holds());
		return error;
	}
	REQUIRE(ends_well(pid) && holds());
	return 0;
}

void discard_and_check(void)
{
	size_t page = pages / 3 + generation % 64, count = 1 + generation * 7 % 40;

	REQUIRE(odf_region_discard(region, (char *)odf_region_base(region) + page * PAGE, count * PAGE) == 0);
	for (size_t i = page; i < page + count; i++)
		REQUIRE(base[i * WORDS] == 0 && base[i * WORDS + WORDS - 1] == 0);
	REQUIRE(base[(page - 1) * WORDS] != 0 && base[(page + count) * WORDS] != 0);
	fill();
}

time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* Whether a fork went ahead without the region, since that could not be frozen. */
bool is_given_up(void)
{
	return info().state == ODF_REGION_GIVEN_UP;
}

/* Does everything while a resource may be short. Returns how often forks failed. */
int live_with(int allowed)
{
	int failed = 0;

	for (int i = 0; i < 6; i++) {
		int error = fork_and_check();
		if (error != 0 && error != allowed)
			dprintf(2, "fork: %s\n", strerror(error));
		REQUIRE(error == 0 || error == allowed);
		failed += error != 0;
		discard_and_check();
		error = odf_region_settle(region);
		if (error != 0 && error != ENOMEM && error != EBUSY && error != EAGAIN && error != EMFILE &&
		    !is_given_up())
			dprintf(2, "settle: %s\n", strerror(error));
		REQUIRE(error == 0 || error == ENOMEM || error == EBUSY || error == EAGAIN || error == EMFILE ||
			(error == ENOTSUP && is_given_up()));
		discard_and_check();
		(void)info();
		REQUIRE(holds());
	}
	return failed;
}

void must_settle(void)
{
	time_t end = now() + DEADLINE;

	while (info().state != ODF_REGION_LIVE) {
		REQUIRE(now() < end);
		(void)odf_region_settle(region);
		usleep(1000);
	}
}

/* Forks must work again, and the region must become LIVE. */
void must_recover(void)
{
	time_t end = now() + DEADLINE;

	while (fork_and_check() != 0) {
		REQUIRE(now() < end);
		usleep(5000);
	}
	must_settle();
	REQUIRE(holds());
	REQUIRE(fork_and_check() == 0);
	discard_and_check();
	REQUIRE(holds());
}

/* Or it was given up, and the next region works. */
void recover(size_t size)
{
	time_t end = now() + DEADLINE;

	while (!is_given_up() && info().state != ODF_REGION_LIVE) {
		REQUIRE(now() < end);
		(void)odf_region_settle(region);
		usleep(1000);
	}
	if (is_given_up()) {
		REQUIRE(holds() && fork_and_check() == 0);
		REQUIRE(odf_region_destroy(region) == 0);
		make_region(size);
	}
	must_recover();
}

pid_t start_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(4 * (unsigned)DEADLINE);
		pause();
		_exit(1);
	}
	REQUIRE(pid > 0);
	return pid;
}

void end_sleeper(pid_t pid)
{
	int status;

	REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
}

/* ---- Limits of the process --------------------------------------------------------------------------------------- */

/* None of these functions may allocate memory: there may be none. */
size_t statm(int which)
{
	char text[128] = "", *at = text;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	size_t number = 0;

	REQUIRE(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
	close(fd);
	for (int i = 0; i <= which; i++)
		number = strtoul(at, &at, 10);
	return number * PAGE;
}

struct rlimit limit_to(int resource, rlim_t soft)
{
	struct rlimit before, limit;

	REQUIRE(getrlimit(resource, &before) == 0);
	limit = before;
	if (limit.rlim_max < soft)
		skip("the hard limit is too low");
	limit.rlim_cur = soft;
	REQUIRE(setrlimit(resource, &limit) == 0);
	return before;
}
