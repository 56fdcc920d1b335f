/* SPDX-License-Identifier: MIT
 *
 * What a fork costs on this machine now, measured with this command's own memory in about half a second. For a private
 * mapping a fork copies an entry for each resident page, write-protects it if it was writable, and allocates pages for
 * the page tables. Shared memory, and files that were not written to, cost nothing. The time depends on where the pages
 * are in physical memory (inspect_order.c), so both cases are measured.
 *
 * Each number is a median of processor times, so time slices of other processes do not count.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../measure/available.h"
#include "inspect.h"

#define MEASURED_MOST ((size_t)256 << 20)
#define MEASURED_LEAST ((size_t)16 << 20)
#define PAGE ((size_t)4096)
#define TABLE ((size_t)2 << 20)
#define MAPPINGS 1024
#define ROUNDS 3
#define AGAIN 3 /* forks after each first one */
#define DISPLACED ((size_t)16 << 20)
#define MANY 16

static double clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* The caller's processor time for a fork; negative: no process can be made. Then waits for the child's end, which is
 * the rest of the fork's work. */
static double fork_once(void)
{
	double start = clock_us(CLOCK_THREAD_CPUTIME_ID);
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	start = clock_us(CLOCK_THREAD_CPUTIME_ID) - start;
	if (pid < 0)
		return -1;
	(void)waitpid(pid, NULL, 0);
	return start;
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

static double median(double *values, size_t count)
{
	qsort(values, count, sizeof *values, compare);
	return count == 0 ? -1 : values[count / 2];
}

/* Of this number of forks in the present state. */
static double median_fork(size_t count)
{
	double held[MANY];
	size_t good = 0;

	for (size_t i = 0; i < count && i < MANY; i++) {
		held[good] = fork_once();
		if (held[good] >= 0)
			good++;
	}
	return median(held, good);
}

static char *map(size_t size, int protection)
{
	char *memory = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void write_pages(char *memory, size_t size, size_t step)
{
	for (size_t at = 0; at < size; at += step)
		((volatile char *)memory)[at] = (char)(memory[at] + 1);
}

/* Writes the pages first in an order that jumps, so that they are physically scattered. `count` is a power of two: the
 * sequence then meets each number once. */
static void write_scattered(char *memory, size_t count)
{
	size_t page = 0;

	for (size_t i = 0; i < count; i++) {
		((volatile char *)memory)[page * PAGE] = 1;
		page = (page * 1664525 + 1013904223) & (count - 1);
	}
}

/* A program's work between forks evicts most of the kernel's structures from the caches. */
static void displace_caches(void)
{
	static volatile char lines[DISPLACED];

	for (size_t at = 0; at < sizeof lines; at += 64)
		lines[at]++;
}

/* Error of a prediction, as a part of 1: the remaining difference between predictions and measured forks
 * (bench/RESULTS.md). More is added if it is not known how the pages are placed. */
#define LEAST_ERROR 0.2
#define UNKNOWN_ORDER 0.2

static double positive(double value, double least)
{
	return value > least ? value : least;
}

static double scattered_part(const char *memory, size_t size)
{
	struct inspect_order order = { .pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) };
	double part;

	inspect_order_add(&order, (uintptr_t)memory, (uintptr_t)memory + size);
	part = inspect_order_scattered(&order);
	if (order.pagemap >= 0)
		close(order.pagemap);
	return part;
}

/* Pages of 4 KiB: ns[1] if all were written since the last fork, ns[0] if none was. *part: the part of them that are
 * scattered. */
static bool measure_pages(struct inspect_costs *costs, size_t size, bool scattered, double ns[2], double *part)
{
	char *memory = map(size, PROT_READ | PROT_WRITE);
	size_t count = 0, whole = size / PAGE;
	double fresh[ROUNDS], again[ROUNDS * AGAIN], pages = (double)whole, spread;

	if (memory == NULL)
		return false;
	(void)madvise(memory, size, MADV_NOHUGEPAGE);
	if (scattered)
		write_scattered(memory, whole);
	for (int round = 0; round < ROUNDS; round++) {
		write_pages(memory, size, PAGE);
		displace_caches();
		fresh[round] = fork_once();
		for (int i = 0; i < AGAIN; i++) {
			displace_caches();
			again[count++] = fork_once();
		}
	}
	*part = scattered_part(memory, size);
	munmap(memory, size);
	ns[1] = positive((median(fresh, ROUNDS) - costs->base_us) * 1e3 / pages, 1);
	ns[0] = positive((median(again, count) - costs->base_us) * 1e3 / pages, 1);
	if (ns[1] < ns[0])
		ns[1] = ns[0];
	/* Half of the values are within it. */
	spread = (again[count * 3 / 4] - again[count / 4]) / positive(again[count / 2], 1);
	costs->spread = positive(spread, costs->spread);
	return true;
}

/* Extrapolates from the measured scattered parts to all and none. */
static bool measure_small(struct inspect_costs *costs, size_t size)
{
	double part[2];

	if (!measure_pages(costs, size, false, costs->small_ns[0], &part[0]) ||
	    !measure_pages(costs, size, true, costs->small_ns[1], &part[1]))
		return false;
	for (int written = 0; written < 2; written++) {
		double *ns[2] = { &costs->small_ns[0][written], &costs->small_ns[1][written] };
		/* The kernel may not show the placement, and a busy machine may have no adjacent pages. */
		bool told = part[0] >= 0 && part[1] - part[0] > 0.3;
		double slope = told ? (*ns[1] - *ns[0]) / (part[1] - part[0]) : *ns[1] - *ns[0];
		if (slope < 0) {
			*ns[0] = *ns[1] = (*ns[0] + *ns[1]) / 2;
			continue;
		}
		if (told)
			*ns[0] = positive(*ns[0] - slope * part[0], *ns[0] / 2);
		*ns[1] = *ns[0] + slope;
	}
	/* Written and unwritten pages had slopes of their own, so noise may have made a written page cheaper. */
	for (int scattered = 0; scattered < 2; scattered++)
		costs->small_ns[scattered][1] = positive(costs->small_ns[scattered][1],
							 costs->small_ns[scattered][0]);
	return true;
}

/* One page in each page table. */
static void measure_tables(struct inspect_costs *costs)
{
	size_t tables = 1024;
	char *memory = map(tables * TABLE, PROT_READ | PROT_WRITE);
	double held;

	if (memory == NULL)
		return;
	(void)madvise(memory, tables * TABLE, MADV_NOHUGEPAGE);
	write_pages(memory, tables * TABLE, TABLE);
	held = median_fork(5);
	munmap(memory, tables * TABLE);
	costs->table_ns = positive((held - costs->base_us) * 1e3 / (double)tables - costs->small_ns[0][0], 0);
}

/* Pages of 2 MiB, if the machine has free ones; else such a page is taken to cost an entry and the page table that is
 * reserved for it. */
static void measure_huge(struct inspect_costs *costs, size_t size)
{
	char *memory = map(size + TABLE, PROT_READ | PROT_WRITE), *start;
	double held;

	costs->huge_ns = costs->table_ns + costs->small_ns[0][1];
	if (memory == NULL)
		return;
	start = memory + (TABLE - (size_t)memory % TABLE) % TABLE;
	if (madvise(start, size, MADV_HUGEPAGE) == 0) {
		struct inspect_memory *found = malloc(sizeof *found);
		write_pages(start, size, TABLE);
		held = median_fork(7);
		if (found != NULL && inspect_memory_read(getpid(), found) == 0) {
			if (found->copied_huge >= size / TABLE / 2)
				costs->huge_ns = positive((held - costs->base_us) * 1e3 / (double)found->copied_huge,
							  50);
			inspect_memory_free(found);
		}
		free(found);
	}
	munmap(memory, size + TABLE);
}

/* Mappings alone, and mappings of which a page was written. Neighbours have different protections, so they do not
 * merge. */
static void measure_mappings(struct inspect_costs *costs)
{
	char *memory = map(MAPPINGS * 2 * PAGE, PROT_READ | PROT_WRITE);
	double held;

	costs->mapping_ns = 300;
	costs->copied_mapping_ns = 600;
	if (memory == NULL)
		return;
	for (size_t i = 0; i < MAPPINGS; i++)
		(void)mprotect(memory + i * 2 * PAGE, PAGE, PROT_READ);
	held = median_fork(7);
	costs->mapping_ns = positive((held - costs->base_us) * 1e3 / (2 * MAPPINGS), 10);
	for (size_t i = 0; i < MAPPINGS; i++)
		memory[(2 * i + 1) * PAGE] = 1;
	held = median_fork(7);
	costs->copied_mapping_ns = positive((held - costs->base_us) * 1e3 / MAPPINGS - costs->mapping_ns,
					    costs->mapping_ns);
	munmap(memory, MAPPINGS * 2 * PAGE);
}

/* A fork that freezes a region, in a process with little other memory. */
static void measure_region(struct inspect_costs *costs)
{
	odf_region *region = odf_region_create(MEASURED_LEAST, 0);
	double held[5];
	size_t count = 0;

	costs->region_us = -1;
	if (region == NULL)
		return;
	for (int i = 0; i < 5; i++) {
		write_pages(odf_region_base(region), MEASURED_LEAST, PAGE);
		held[count] = fork_once();
		if (held[count] < 0)
			break;
		count++;
		(void)odf_region_settle(region);
	}
	if (count > 0)
		costs->region_us = median(held, count);
	(void)odf_region_destroy(region);
}

bool inspect_costs_measure(struct inspect_costs *costs)
{
	size_t size = MEASURED_MOST, available = memory_available().bytes;
	double start = clock_us(CLOCK_MONOTONIC);

	*costs = (struct inspect_costs){ 0 };
	while (size > available / 8)
		size /= 2;
	costs->base_us = median_fork(MANY);
	if (size < MEASURED_LEAST || costs->base_us < 0 || !measure_small(costs, size))
		return false;
	measure_tables(costs);
	measure_huge(costs, size / 2);
	measure_mappings(costs);
	measure_region(costs);
	costs->bytes = size;
	costs->seconds = (clock_us(CLOCK_MONOTONIC) - start) / 1e6;
	costs->measured = true;
	return true;
}

static double predict(const struct inspect_costs *costs, const struct inspect_memory *memory, double small, double huge,
		      double tables, int written)
{
	/* The cost of full page tables is part of the cost of their pages. If the placement is not known, half of the
	 * pages are taken to be scattered. */
	const size_t entries = TABLE / PAGE;
	double sparse = tables - small / (double)entries,
	       scattered = memory->scattered < 0 ? 0.5 : memory->scattered;
	double page = scattered * costs->small_ns[1][written] + (1 - scattered) * costs->small_ns[0][written];

	return costs->base_us + (small * page + positive(sparse, 0) * costs->table_ns + huge * costs->huge_ns +
				 (double)memory->mappings * costs->mapping_ns +
				 (double)memory->copied_mappings * costs->copied_mapping_ns) /
					1e3;
}

/* The geometric mean: within a third of either value if they differ as much as usual. */
static double middle(double low, double high)
{
	double guess = (low + high) / 2;

	for (int i = 0; i < 20; i++) /* square root by Newton's method */
		guess = (guess + low * high / guess) / 2;
	return guess;
}

static struct inspect_prediction predict_part(const struct inspect_costs *costs, const struct inspect_memory *memory,
					      double part)
{
	double small = (double)memory->copied_small * part, huge = (double)memory->copied_huge * part,
	       tables = (double)memory->copied_tables * part;
	struct inspect_prediction result = {
		.low_us = predict(costs, memory, small, huge, tables, 0),
		.high_us = predict(costs, memory, small, huge, tables, 1),
	};

	result.us = middle(result.low_us, result.high_us);
	result.error = positive(result.high_us / result.us - 1, LEAST_ERROR) +
		       (memory->scattered < 0 ? UNKNOWN_ORDER : 0) + costs->spread / 2;
	return result;
}

struct inspect_prediction inspect_predict(const struct inspect_costs *costs, const struct inspect_memory *memory)
{
	return predict_part(costs, memory, 1);
}

struct inspect_prediction inspect_predict_under(const struct inspect_costs *costs, const struct inspect_memory *memory,
						uint64_t inside)
{
	double all = (double)memory->copied_small * (double)PAGE + (double)memory->copied_huge * (double)TABLE;
	double part = all > 0 ? positive(1 - (double)inside / all, 0) : 0;
	struct inspect_prediction result = predict_part(costs, memory, part);
	double more = positive(costs->region_us - costs->base_us, 0);

	result.low_us += more;
	result.us += more;
	result.high_us += more;
	return result;
}
