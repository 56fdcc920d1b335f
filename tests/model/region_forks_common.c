/* SPDX-License-Identifier: MIT
 *
 * The base of the cases of region_forks: the region, its contents, and its checks.
 */
#include "region_forks.h"

int messages = 2; /* where messages go; a case may replace standard error */

struct shared *shared; /* shared by parents and children, outside any region */

odf_region *region;
volatile uint64_t *base;
unsigned even, odd; /* the contents of the even and the odd pages */
pid_t (*bare)(void);
bool is_child; /* the process is a descendant of the one that made the region */

/* ---- The region and what is in it -------------------------------------------------------------------------------- */

void write_page(size_t page, unsigned seed)
{
	volatile uint64_t *word = base + page * WORDS;

	word[0] = word[WORDS / 2] = word[WORDS - 1] = seed * 1000003ull + page * 7 + 1;
}

bool page_has(size_t page, unsigned seed)
{
	volatile uint64_t *word = base + page * WORDS;
	uint64_t value = seed * 1000003ull + page * 7 + 1;

	return word[0] == value && word[WORDS / 2] == value && word[WORDS - 1] == value && word[1] == 0;
}

static void make_region_of(unsigned flags)
{
	region = odf_region_create((size_t)PAGES * PAGE, flags);
	REQUIRE(region != NULL);
	base = odf_region_base(region);
	is_child = false;
	for (size_t page = 0; page < PAGES; page++)
		write_page(page, 0);
	even = odd = 0;
}

void make_region(void)
{
	make_region_of(0);
}

bool holds(void)
{
	for (size_t page = 0; page < PAGES; page++)
		if (!page_has(page, page % 2 == 0 ? even : odd))
			return false;
	return true;
}

void write_odd_pages(void)
{
	odd++;
	for (size_t page = 1; page < PAGES; page += 2)
		write_page(page, odd);
}

odf_region_info info(void)
{
	odf_region_info found = ODF_REGION_INFO_INIT;

	REQUIRE(odf_region_info_get(region, &found) == 0);
	return found;
}

time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* Waits until no descendant is left and the region is LIVE: by itself, or by a call to settle. */
void await_live(void)
{
	time_t end = now() + DEADLINE;

	for (;;) {
		odf_region_info found = info();
		if (found.state == ODF_REGION_LIVE)
			return;
		REQUIRE(now() < end);
		if (found.settling != ODF_REGION_SETTLES_ALWAYS)
			(void)odf_region_settle(region);
		usleep(1000);
	}
}

bool exits_with(pid_t pid, int code)
{
	int status;
	pid_t waited;

	do
		waited = waitpid(pid, &status, __WALL);
	while (waited < 0 && errno == EINTR);
	if (waited == pid && status != code << 8)
		dprintf(messages, "# wait status %#x\n", (unsigned)status);
	return waited == pid && status == code << 8;
}

/* ---- The ways ---------------------------------------------------------------------------------------------------- */

int look(void)
{
	alarm(2 * (unsigned)DEADLINE); /* in case its parent does not wait for it */
	REQUIRE(holds());
	for (size_t page = 0; page < PAGES; page += 3)
		write_page(page, 1000000);
	while (!shared->go)
		usleep(100);
	for (size_t page = 0; page < PAGES; page++)
		REQUIRE(page_has(page, page % 3 == 0 ? 1000000 : page % 2 == 0 ? even : odd));
	return SEEN;
}
