/* SPDX-License-Identifier: MIT
 *
 * Measures the chunk size of a FROZEN region: the cost of a fork while a child keeps the snapshot, for each size of
 * chunk. The parent reads all of the memory after the freeze and writes some of it. The next fork copies the page
 * tables of each chunk that was written to, and pays for each chunk that exists. This program links the library's
 * object files, as only they allow it to set the chunk size.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/region/internal.h"
#include "clock.h"

#define MIB ((size_t)1 << 20)

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, int count)
{
	qsort(values, (size_t)count, sizeof *values, compare);
	return values[count / 2];
}

static double timed_fork(pid_t *pid)
{
	double start = now_us(), held;

	*pid = odf_fork();
	if (*pid == 0) {
		pause();
		_exit(0);
	}
	held = now_us() - start;
	if (*pid < 0) {
		perror("fork");
		exit(1);
	}
	return held;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void settle(odf_region *region)
{
	int error;

	while ((error = odf_region_settle(region)) == EBUSY)
		;
	if (error != 0) {
		fprintf(stderr, "settle: %s\n", strerror(error));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	size_t size = (argc > 1 ? strtoull(argv[1], NULL, 0) : 4096) * MIB;
	int rounds = argc > 2 ? atoi(argv[2]) : 7;
	static const size_t spreads[] = { 1, 64, 512, 0 }; /* MiB over which 64 writes are spread; 0: all of it */
	odf_region *region = odf_region_create(size, ODF_REGION_MANUAL);
	volatile char *base;

	if (region == NULL) {
		perror("odf_region_create");
		return 1;
	}
	base = odf_region_base(region);
	for (size_t at = 0; at < size; at += 4096)
		base[at] = 1;
	puts("size_mib,chunk_mib,spread_mib,first_fork_us,next_fork_us");
	for (size_t chunk = 2 * MIB; chunk <= size; chunk *= 2) {
		region_chunk_override = chunk >= size ? 0 : chunk;
		for (size_t s = 0; s < sizeof spreads / sizeof *spreads; s++) {
			size_t spread = spreads[s] == 0 ? size : spreads[s] * MIB;
			double first[64], next[64];
			if (spread > size)
				continue;
			for (int round = -1; round < rounds && round < 64; round++) {
				pid_t keeps, pid;
				double held;
				char sum = 0;
				/* A settle creates the template, with the chunk size that is set then. So round -1 is
				 * not counted: its template still has the size before. */
				held = timed_fork(&keeps);
				if (round >= 0)
					first[round] = held;
				for (size_t at = 0; at < size; at += 4096)
					sum = (char)(sum + base[at]);
				for (size_t i = 0; i < 64; i++)
					base[i * (spread / 64) / 4096 * 4096] = sum;
				held = timed_fork(&pid);
				if (round >= 0)
					next[round] = held;
				end(pid);
				end(keeps);
				settle(region);
			}
			printf("%zu,%zu,%zu,%.1f,%.1f\n", size / MIB, chunk / MIB, spread / MIB, median(first, rounds),
			       median(next, rounds));
			fflush(stdout);
		}
	}
	return odf_region_destroy(region) == 0 ? 0 : 1;
}
