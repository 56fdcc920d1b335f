/* SPDX-License-Identifier: MIT
 *
 * pool_spawn MIB ROUNDS THREADS: in a process that holds MIB of memory on 4 KiB pages, THREADS threads start /bin/true
 * in each way, ROUNDS times (ten times as often in ways that do not fork). Measures how long one start holds the
 * caller, with no other child running; and how many processes a second start and end, with up to 8 at a time in each
 * thread.
 *
 * "pool (returns at once)" does not wait for exec; all others return once exec has succeeded. The pool is created
 * before the process takes its memory.
 *
 * CSV: mib,threads,way,held_median_us,held_p99_us,processes_per_s.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "odfork.h"
#include "spawn_ways.h"

static const struct {
	const char *name;
	pid_t (*start)(void);
	bool forks;
} ways[] = {
	{ "vfork+execve (floor)", spawn_by_raw_vfork, false },
	{ "odf_spawn", spawn_by_odf, false },
	{ "pool (waits for exec)", spawn_by_pool, false },
	{ "pool (returns at once)", spawn_by_pool_no_wait, false },
	{ "glibc posix_spawn", spawn_by_libc, false },
	{ "fork+exec", spawn_by_fork, true },
};
enum { WAYS = sizeof ways / sizeof *ways, UNDER_WAY = 8, TURNS = 10 };

static size_t rounds;
static pthread_barrier_t together;

static size_t rounds_of(size_t way)
{
	return ways[way].forks ? rounds : 10 * rounds;
}

static void reap(pid_t pid, const char *name)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "pool_spawn: %s failed: %s\n", name, strerror(errno));
		exit(1);
	}
}

struct caller {
	pthread_t thread;
	double *held[WAYS];
	double busy_us[WAYS];
	size_t done[WAYS];
};

static void measure_held(struct caller *caller, size_t way, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		double start = now_us();
		pid_t pid = ways[way].start();

		caller->held[way][i] = now_us() - start;
		reap(pid, ways[way].name);
	}
}

static void measure_rate(struct caller *caller, size_t way, size_t count)
{
	pid_t pids[UNDER_WAY];
	double start = now_us();

	for (size_t i = 0; i < count; i++) {
		if (i >= UNDER_WAY)
			reap(pids[i % UNDER_WAY], ways[way].name);
		pids[i % UNDER_WAY] = ways[way].start();
	}
	for (size_t i = count < UNDER_WAY ? 0 : count - UNDER_WAY; i < count; i++)
		reap(pids[i % UNDER_WAY], ways[way].name);
	caller->busy_us[way] += now_us() - start;
	caller->done[way] += count;
}

/* The ways take turns, so that a drift of the machine's speed affects all of them alike. All threads use the same way
 * at the same time. */
static void *call(void *argument)
{
	struct caller *caller = argument;

	for (size_t turn = 0; turn < TURNS; turn++)
		for (size_t step = 0; step < WAYS; step++) {
			size_t way = (step + turn) % WAYS, all = rounds_of(way);

			pthread_barrier_wait(&together);
			reap(ways[way].start(), ways[way].name); /* warms up */
			measure_held(caller, way, all * turn / TURNS, all * (turn + 1) / TURNS);
			pthread_barrier_wait(&together);
			measure_rate(caller, way, all * (turn + 1) / TURNS - all * turn / TURNS);
		}
	return NULL;
}

int main(int argc, char **argv)
{
	size_t mib = argc == 4 ? strtoul(argv[1], NULL, 10) : 0, threads = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	struct caller *callers;

	rounds = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	if (rounds < TURNS || threads == 0 || threads > 64) {
		fprintf(stderr, "usage: pool_spawn MIB ROUNDS THREADS (10 rounds at least)\n");
		return 2;
	}
	reap(spawn_by_pool(), "the pool"); /* the first start creates the pool */
	pthread_barrier_init(&together, NULL, (unsigned)threads);
	hold_memory(mib << 20);
	callers = calloc(threads, sizeof *callers);
	for (size_t t = 0; callers != NULL && t < threads; t++)
		for (size_t w = 0; w < WAYS; w++) {
			callers[t].held[w] = calloc(rounds_of(w), sizeof(double));
			if (callers[t].held[w] == NULL)
				return 1;
		}
	if (callers == NULL)
		return 1;
	for (size_t t = 1; t < threads; t++)
		if (pthread_create(&callers[t].thread, NULL, call, &callers[t]) != 0)
			return 1;
	call(&callers[0]);
	for (size_t t = 1; t < threads; t++)
		pthread_join(callers[t].thread, NULL);
	printf("mib,threads,way,held_median_us,held_p99_us,processes_per_s\n");
	for (size_t w = 0; w < WAYS; w++) {
		size_t count = rounds_of(w) * threads, at = 0;
		double *all = calloc(count, sizeof *all), rate = 0;

		if (all == NULL)
			return 1;
		for (size_t t = 0; t < threads; t++) {
			memcpy(all + at, callers[t].held[w], rounds_of(w) * sizeof *all);
			at += rounds_of(w);
			rate += (double)callers[t].done[w] / callers[t].busy_us[w] * 1e6;
		}
		printf("%zu,%zu,%s,%.1f,%.1f,%.0f\n", mib, threads, ways[w].name, quantile(all, count, 0.5),
		       quantile(all, count, 0.99), rate);
		free(all);
	}
	return 0;
}
