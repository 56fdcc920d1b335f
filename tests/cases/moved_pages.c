/* SPDX-License-Identifier: MIT
 *
 * Cases of test_moved: large pages that the program requests, and the number of mappings.
 */
#include "moved.h"

/* ---- Large pages ------------------------------------------------------------------------------------------------- */

/* MiB of large pages in the mappings that overlap this range. */
static size_t large_pages_of(const char *memory, size_t length)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long from, to, start = (unsigned long)memory;
	bool is_of_it = false;
	char line[512];
	size_t sum = 0, size;

	must(smaps != NULL);
	while (fgets(line, sizeof line, smaps) != NULL)
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			is_of_it = from < start + length && to > start;
		else if (is_of_it && (sscanf(line, "AnonHugePages: %zu", &size) == 1 ||
				      sscanf(line, "ShmemPmdMapped: %zu", &size) == 1))
			sum += size;
	fclose(smaps);
	return sum / 1024;
}

/* MiB of large pages in the process. */
static size_t large_pages(void)
{
	return large_pages_of(NULL, SIZE_MAX);
}

static void must_give_large_pages(void)
{
	long area = raw(SYS_mmap, NULL, 10 * MIB, RW, PLAIN, -1, 0);
	char *p = (char *)(((uintptr_t)area + 2 * MIB - 1) / (2 * MIB) * (2 * MIB));
	size_t before = large_pages();

	must(raw(SYS_madvise, p, 8 * MIB, MADV_HUGEPAGE, 0, 0, 0) == 0);
	memset(p, 1, 8 * MIB);
	if (large_pages() < before + 8)
		cannot_be_done_here("no large pages");
	must(raw(SYS_munmap, (char *)area, 10 * MIB, 0, 0, 0, 0) == 0);
}

/* How many MiB of large pages the machine has right now for this many mappings of this size, made past the library:
 * three quarters of what it gives, as other processes may take some the next moment. 0: too few. */
static size_t large_pages_for(unsigned count, size_t size)
{
	size_t before = large_pages(), given;
	char *mappings[16];

	for (unsigned i = 0; i < count; i++) {
		mappings[i] = (char *)raw(SYS_mmap, 0, size + PAGE, RW, PLAIN, -1, 0);
		must(raw(SYS_madvise, mappings[i], size, MADV_HUGEPAGE, 0, 0, 0) == 0);
		memset(mappings[i], 1, size);
	}
	given = large_pages() - before;
	for (unsigned i = 0; i < count; i++)
		must(raw(SYS_munmap, mappings[i], size + PAGE, 0, 0, 0, 0) == 0);
	return given < count * (size >> 20) / 2 ? 0 : given / 4 * 3;
}

/* Whether other processes have taken them meanwhile. */
static bool is_short_of(size_t wanted, unsigned count, size_t size)
{
	return large_pages_for(count, size) < wanted;
}

static bool is_4_all_over(char *p)
{
	for (size_t at = 0; at < 32 * MIB; at += PAGE)
		if (p[at] != 4)
			return false;
	return true;
}

void large_pages_asked(void)
{
	size_t before, given;
	char *p, *arrays[16];
	void *aligned;

	grown = map(32 * MIB);
	must_give_large_pages();
	given = large_pages_for(1, 32 * MIB);
	if (given == 0)
		cannot_be_done_here("no large pages");
	before = large_pages();
	p = mmap(NULL, 32 * MIB, RW, PLAIN, -1, 0);
	must(p != MAP_FAILED && madvise(p, 32 * MIB, MADV_HUGEPAGE) == 0 && p[5] == 0);
	memset(p, 4, 32 * MIB);
	must(large_pages() >= before + given || is_short_of(given, 1, 32 * MIB));
	over_forks(is_4_all_over, p);
	/* Children may have split a page or two. Large pages that the machine gives to the region's own data by default
	 * may go at a fork. */
	must(large_pages_of(p, 32 * MIB) >= given / 4 * 3 || is_short_of(given, 1, 32 * MIB));
	must(madvise(p, 32 * MIB, MADV_NOHUGEPAGE) == 0 && madvise(p, 32 * MIB, MADV_DONTNEED) == 0 && p[9 * MIB] == 0);
	must(munmap(p, 32 * MIB) == 0);
	/* Memory from malloc, requested again and again as numpy does. */
	given = large_pages_for(16, 8 * MIB);
	before = large_pages();
	for (int i = 0; i < 48; i++) {
		char **array = &arrays[i % 16], *start;
		if (i >= 16)
			free(*array);
		*array = malloc(8 * MIB);
		must(*array != NULL);
		start = (char *)(((uintptr_t)*array + PAGE - 1) / PAGE * PAGE);
		must(madvise(start, 8 * MIB - (size_t)(start - *array), MADV_HUGEPAGE) == 0);
		memset(*array, i, 8 * MIB);
	}
	/* The blocks need not begin at the start of a large page. */
	must(large_pages() >= before + given / 2 || is_short_of(given, 16, 8 * MIB));
	for (int i = 0; i < 16; i++) {
		must(arrays[i][0] == 32 + i && arrays[i][8 * MIB - 1] == 32 + i);
		free(arrays[i]);
	}
	given = large_pages_for(1, 16 * MIB);
	must(posix_memalign(&aligned, 2 * MIB, 16 * MIB) == 0);
	before = large_pages();
	must(madvise(aligned, 16 * MIB, MADV_HUGEPAGE) == 0);
	memset(aligned, 6, 16 * MIB);
	must(large_pages() >= before + given || is_short_of(given, 1, 16 * MIB));
}

void large_pages_collapsed(void)
{
	bool collapsed = false;
	char *p;
	size_t before;

	grown = map(32 * MIB);
	must_give_large_pages();
	before = large_pages();
	p = map(32 * MIB);
	memset(p, 4, 32 * MIB);
	/* The call moves pages, which other processes may be using at that moment, and needs large ones, which others
	 * may have taken. */
	for (int tries = 0; !collapsed && tries < 50; tries++) {
		collapsed = madvise(p, 32 * MIB, MADV_COLLAPSE) == 0;
		if (!collapsed && errno == EINVAL)
			cannot_be_done_here("no MADV_COLLAPSE");
		if (!collapsed)
			wait_ms(20);
	}
	must(!collapsed || large_pages() >= before + 28 || is_short_of(24, 1, 32 * MIB));
	over_forks(is_4_all_over, p);
}

void large_pages_forbidden(void)
{
	char *p;
	size_t before;

	grown = map(32 * MIB);
	must(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	before = large_pages(); /* by default */
	p = mmap(NULL, 32 * MIB, RW, PLAIN, -1, 0);
	must(p != MAP_FAILED && madvise(p, 32 * MIB, MADV_HUGEPAGE) == 0);
	memset(p, 4, 32 * MIB);
	must(large_pages() <= before);
	over_forks(is_4_all_over, p);
	if (preloaded())
		must(is_inside(p));
}

/* Part of it was written before: that part stays as it is, and the rest gets large pages. */
void large_pages_beside_data(void)
{
	char *p;
	size_t before;

	grown = map(32 * MIB);
	must_give_large_pages();
	before = large_pages();
	p = mmap(NULL, 32 * MIB, RW, PLAIN, -1, 0);
	must(p != MAP_FAILED);
	p[0] = 4;
	p[17 * MIB] = 4;
	must(madvise(p, 32 * MIB, MADV_HUGEPAGE) == 0 && p[0] == 4 && p[17 * MIB] == 4 && p[1] == 0 && p[5 * MIB] == 0);
	memset(p, 4, 32 * MIB);
	must(large_pages() >= before + 24 || is_short_of(24, 1, 32 * MIB));
	over_forks(is_4_all_over, p);
}

/* ---- Many rounds ------------------------------------------------------------------------------------------------- */

static unsigned mappings_inside(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned count = 0;

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL)
		count += strstr(line, "odfork-region") != NULL;
	fclose(maps);
	return count;
}

/* Pieces that were frozen and settled become one mapping again, however often. */
void mappings_do_not_pile_up(void)
{
	char *p = map_inside(16 * MIB);
	const char *scale = getenv("ODF_TEST_SCALE");
	unsigned before = 0, rounds = 100 * (scale == NULL ? 1u : (unsigned)atoi(scale)), settled = 0;

	for (unsigned round = 0; round < rounds; round++) {
		pid_t pid = fork();
		must(pid >= 0);
		if (pid == 0)
			_exit(p[round * PAGE % (16 * MIB)] == 0 ? 1 : 0);
		must(status_of(pid) == 0);
		for (size_t i = 0; i < 200; i++) /* scattered, so that private pages lie among the file's */
			p[(i * 37 + round) * PAGE % (16 * MIB)] = (char)(round % 100 + 1);
		for (int i = 0; i < 300 && settles() && !(is_live(p) && is_live(grown)); i++)
			wait_ms(1);
		settled += is_live(p) && is_live(grown);
		if (round == 4)
			before = mappings_inside();
	}
	/* There are more during a settle. */
	for (int i = 0; i < 6000 && settles() && mappings_inside() > before + 4; i++)
		wait_ms(10);
	if (preloaded() && settled == 0)
		cannot_be_done_here("nothing settles");
	must(mappings_inside() <= before + 4);
}
