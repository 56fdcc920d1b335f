/* SPDX-License-Identifier: MIT
 * Time, samples and memory for the benchmark programs. */
#ifndef ODF_BENCH_CLOCK_H
#define ODF_BENCH_CLOCK_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static inline double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static inline int compare_samples(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Sorts. `part` is 0.5 for the median, 0.99 for the 99th percentile. */
static inline double quantile(double *samples, size_t count, double part)
{
	size_t at = (size_t)((double)count * part);
	qsort(samples, count, sizeof *samples, compare_samples);
	return samples[at < count ? at : count - 1];
}

/* Anonymous memory on small pages, each written, so that a fork is expensive. */
static inline void hold_memory(size_t bytes)
{
	char *memory;

	if (bytes == 0)
		return;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < bytes; i += 4096)
		memory[i] = 1;
}
#endif
