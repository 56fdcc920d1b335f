/* SPDX-License-Identifier: MIT
 *
 * Cases of region_limits: how a region settles beside threads that write.
 */
#include "region_limits.h"

enum { WRITERS = 3, SLOTS = 2048 };
static atomic_bool stop;
static unsigned long shadow[WRITERS][SLOTS];

/* Writes to words of pages that all writers share. */
static void *write_always(void *number)
{
	size_t self = (size_t)(uintptr_t)number;
	unsigned chance = (unsigned)self + 1;

	while (!stop) {
		size_t page = (chance = chance * 1103515245u + 12345u) >> 8 & (SLOTS - 1);
		base[page * WORDS + 1 + self]++;
		shadow[self][page]++;
	}
	return NULL;
}

static const char *const settling_names[] = { "always", "at_fork", "by_call", "never" };

/* SETTLING MILLISECONDS: threads write all the time; longer on a busy machine. */
void case_threads(char **arguments)
{
	struct timespec start, time;
	pthread_t threads[WRITERS];
	odf_region_info found;
	long wanted = atol(arguments[1]), passed, forks = 0;
	bool enough;

	make_region((size_t)SLOTS * PAGE);
	found = info();
	if (strcmp(settling_names[found.settling], arguments[0]) != 0)
		dprintf(2, "settles %s, not %s\n", settling_names[found.settling], arguments[0]);
	REQUIRE(strcmp(settling_names[found.settling], arguments[0]) == 0);
	for (uintptr_t i = 0; i < WRITERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, write_always, (void *)i) == 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		REQUIRE(fork_and_check() == 0);
		forks++;
		usleep(3000);
		clock_gettime(CLOCK_MONOTONIC, &time);
		passed = (time.tv_sec - start.tv_sec) * 1000 + (time.tv_nsec - start.tv_nsec) / 1000000;
		enough = forks > 5 && (found.settling != ODF_REGION_SETTLES_ALWAYS || info().settles > 0);
	} while (passed < wanted || (!enough && passed < DEADLINE * 1000));
	stop = true;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < WRITERS; i++)
		for (size_t page = 0; page < SLOTS; page++)
			REQUIRE(base[page * WORDS + 1 + i] == shadow[i][page]);
	found = info();
	dprintf(1, "%ld forks, %d freezes, %d settles\n", forks, (int)found.freezes, (int)found.settles);
	REQUIRE(holds() && enough);
	REQUIRE(found.settling != ODF_REGION_SETTLES_ALWAYS || found.settles > 0);
	REQUIRE(found.settling == ODF_REGION_SETTLES_ALWAYS || found.settles == 0);
	while (odf_region_settle(region) != 0)
		usleep(1000);
	REQUIRE(holds() && info().state == ODF_REGION_LIVE);
}
