/* SPDX-License-Identifier: MIT */
#include "worker_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { HUGE_PAGE = 2 << 20 };

enum memory worker_kind;
char *worker_memory;
size_t worker_pages;
odf_region *worker_region;

_Noreturn void worker_fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

static void fill(void)
{
	for (size_t i = 0; i < worker_pages; i++)
		word(i)[0] = i + 1;
}

int worker_huge_percent(void)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	char line[512];
	unsigned long from, to, huge = 0, kb;
	bool ours = false;

	if (file == NULL)
		worker_fail("/proc/self/smaps");
	while (fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = from < (uintptr_t)worker_memory + worker_pages * PAGE && to > (uintptr_t)worker_memory;
		else if (ours && sscanf(line, "AnonHugePages: %lu", &kb) == 1)
			huge += kb;
	}
	fclose(file);
	return (int)(huge * 1024 * 100 / (worker_pages * PAGE));
}

void worker_restore_huge_pages(void)
{
	if (worker_huge_percent() < 99)
		/* May fail: the percentage of huge pages is reported. */
		madvise(worker_memory, worker_pages * PAGE, MADV_COLLAPSE);
}

static void get_region(size_t bytes)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	worker_region = odf_region_create(bytes, 0);
	if (worker_region == NULL) {
		int error = errno;
		odf_capabilities_get(&capabilities);
		fprintf(stderr, "%s: no region: %s (%s)\n", program_invocation_short_name, strerror(error),
			odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
		exit(1);
	}
	worker_memory = odf_region_base(worker_region);
}

void worker_get_memory(enum memory kind, size_t bytes)
{
	worker_kind = kind;
	worker_pages = worker_kind == NO_MEMORY ? 0 : bytes / PAGE;
	if (worker_kind == NO_MEMORY)
		return;
	if (worker_kind == IN_REGION) {
		get_region(bytes);
	} else {
		char *place = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (place == MAP_FAILED)
			worker_fail("mmap");
		worker_memory = (char *)(((uintptr_t)place + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
		/* A kernel without transparent huge pages knows neither advice, and all pages are small. */
		madvise(worker_memory, bytes, worker_kind == HUGE_PAGES ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	fill();
}

/* ---- Touching it ---- */

uint64_t worker_draw(void)
{
	static uint64_t x = 88172645463325252u;
	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

struct walk walk_begin(bool in_order)
{
	struct walk walk = { in_order, worker_draw(), 1, 1 };
	unsigned bits = 1;

	while (walk.mask + 1 < worker_pages) {
		walk.mask = walk.mask << 1 | 1;
		bits++;
	}
	walk.shift = bits / 2 + 1;
	if (in_order)
		walk.at = 0;
	return walk;
}

size_t walk_next(struct walk *walk)
{
	uint64_t x;

	if (walk->in_order)
		return walk->at++ % worker_pages;
	do {
		walk->at = (walk->at * 6364136223846793005u + 1442695040888963407u) & walk->mask;
		x = walk->at ^ walk->at >> walk->shift;
		x = x * 0x9e3779b97f4a7c15u & walk->mask;
		x ^= x >> walk->shift;
	} while (x >= worker_pages);
	return x;
}

bool touch_many(struct walk *walk, size_t count, bool writes)
{
	bool right = true;
	while (count-- > 0)
		right &= touch(walk_next(walk), writes);
	return right;
}

void write_at_random(size_t count)
{
	while (count-- > 0) {
		size_t page = worker_draw() % worker_pages;
		word(page)[1] = count;
	}
}

size_t worker_part(double percent)
{
	return (size_t)((double)worker_pages * percent / 100);
}

void worker_check(bool right)
{
	if (!right) {
		fprintf(stderr, "%s: memory is not what was written there\n", program_invocation_short_name);
		exit(1);
	}
}
