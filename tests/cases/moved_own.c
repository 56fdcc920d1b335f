/* SPDX-License-Identifier: MIT
 *
 * Cases of test_moved: calls on terabytes of addresses where the program has nothing, or nothing any more. The
 * library's own data lies there.
 */
#include "moved.h"

#define TIB  ((size_t)1 << 40)
#define FROM ((char *)(4 * TIB))
#define WIDE (16 * TIB)

static bool is_whole(const char *p)
{
	for (size_t at = 0; at < 8 * MIB; at += PAGE)
		if (p[at] != 1)
			return false;
	return true;
}

static bool a_child_has_it(char *p)
{
	pid_t child = fork();

	must(child >= 0);
	if (child == 0)
		_exit(is_whole(p) ? 0 : 1);
	return status_of(child) == 0 && is_whole(p);
}

/* In the program and in a child, both of which fork afterwards; and beside a child that stays. */
static void over_states(check_function *check)
{
	char *p = map_inside(8 * MIB);
	pid_t child;

	for (int round = 0; round < 2; round++) {
		must(check(p));
		child_agrees(check, p);
		memset(grown + MIB, round, MIB);
		for (int i = 0; i < 200 && settles() && !is_live(grown); i++)
			wait_ms(10);
	}
	child = hold();
	must(check(p));
	let_go(child);
	must(a_child_has_it(p));
}

static bool unmaps(char *p)
{
	return munmap(FROM, WIDE) == 0 && a_child_has_it(p) && syscall(SYS_munmap, FROM, WIDE) == 0 &&
	       a_child_has_it(p);
}

void own_unmapped(void)
{
	over_states(unmaps);
}

static bool uses(char *at)
{
	must(mprotect(at, MIB, RW) == 0 && at[0] == 0 && at[MIB - 1] == 0);
	memset(at, 3, MIB);
	return true;
}

/* As a runtime does that is loaded late and needs fixed addresses. */
static bool reserves(char *p)
{
	bool right = mmap(FROM, WIDE, PROT_NONE, PLAIN | MAP_NORESERVE | MAP_FIXED, -1, 0) == FROM && uses(FROM) &&
		     uses(FROM + WIDE - MIB) && a_child_has_it(p);

	right = right &&
		syscall(SYS_mmap, FROM, WIDE, PROT_NONE, PLAIN | MAP_NORESERVE | MAP_FIXED, -1, 0) == (long)(4 * TIB) &&
		uses(FROM) && a_child_has_it(p) && FROM[0] == 3;
	right = right && mprotect(FROM, WIDE, PROT_NONE) == 0 && madvise(FROM, WIDE, MADV_DONTNEED) == 0 &&
		madvise(FROM, WIDE, MADV_DONTFORK) == 0 && a_child_has_it(p) && uses(FROM);
	return right && munmap(FROM, WIDE) == 0 && a_child_has_it(p);
}

void own_mapped_over(void)
{
	over_states(reserves);
}

static bool is_refused(long result)
{
	return result == -1 && errno == ENOMEM;
}

static bool advises(char *p)
{
	static const int advice[] = { MADV_DONTNEED, MADV_DONTFORK, MADV_WIPEONFORK };
	bool right = is_refused(mprotect(FROM, WIDE, PROT_NONE)) &&
		     is_refused(pkey_mprotect(FROM, WIDE, PROT_READ, -1)) &&
		     is_refused(mlock2(FROM, WIDE, MLOCK_ONFAULT)) &&
		     is_refused(syscall(SYS_mprotect, FROM, WIDE, PROT_NONE));

	for (size_t i = 0; i < sizeof advice / sizeof *advice; i++)
		right = right && is_refused(madvise(FROM, WIDE, advice[i])) &&
			is_refused(syscall(SYS_madvise, FROM, WIDE, advice[i]));
	if (syscall(NUMBER_MSEAL, NULL, 0, 0) == 0)
		right = right && is_refused(syscall(NUMBER_MSEAL, FROM, WIDE, 0));
	return right && a_child_has_it(p);
}

void own_advised(void)
{
	over_states(advises);
}

static bool moves(char *p)
{
	char *other = mmap(NULL, WIDE, PROT_NONE, PLAIN | MAP_NORESERVE, -1, 0);
	bool right = other != MAP_FAILED && uses(other) && munmap(other + MIB, MIB) == 0;
	char *to = FROM + MIB;

	/* The mapping that follows a hole is one mapping. */
	other += 2 * MIB;
	right = right &&
		mremap(other, WIDE - 2 * MIB, WIDE - 4 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to && uses(to) &&
		!is_mapped(other) && !is_mapped(other + WIDE / 2) && !is_mapped(other + WIDE - 3 * MIB);
	return right && a_child_has_it(p) && to[0] == 3 &&
	       mremap(to, WIDE - 4 * MIB, MIB, MREMAP_MAYMOVE) == to && to[MIB - 1] == 3 &&
	       !is_mapped(to + WIDE - 5 * MIB) && a_child_has_it(p) && munmap(other - 2 * MIB, MIB) == 0 &&
	       munmap(to, MIB) == 0;
}

void own_moved_over(void)
{
	over_states(moves);
}

/* ---- Places that the library means to use later are taken by then ---- */

#define ABOVE ((unsigned long)(32 * TIB)) /* above this the kernel places the program's mappings */

/* Maps a page at `at`, unless something is mapped there. */
static void take_page(unsigned long at)
{
	void *page = mmap((void *)at, PAGE, PROT_NONE, PLAIN | MAP_FIXED_NOREPLACE, -1, 0);

	must(page != MAP_FAILED || errno == EEXIST);
}

/* Finds shared views of regions' files outside the program's memory, at most `most`. */
static size_t find_asides(unsigned long places[], size_t most)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	size_t count = 0;

	must(maps != NULL);
	while (count < most && fgets(line, sizeof line, maps) != NULL)
		if (strstr(line, "odfork-region") != NULL && strstr(line, " rw-s ") != NULL &&
		    strtoul(line, NULL, 16) < ABOVE)
			places[count++] = strtoul(line, NULL, 16);
	fclose(maps);
	return count;
}

/* Maps pages behind views of one page, which have to grow for the next fork. */
static void crowd(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long ends[64], start, end;
	char line[512];
	size_t count = 0;

	must(maps != NULL);
	while (count < 64 && fgets(line, sizeof line, maps) != NULL)
		if (strstr(line, "odfork-region") != NULL && sscanf(line, "%lx-%lx", &start, &end) == 2 &&
		    start < ABOVE && end - start == PAGE)
			ends[count++] = end;
	fclose(maps);
	while (count > 0)
		take_page(ends[--count]);
}

/* The views had to move once, and the places for the rest are then taken one after the other: none may be a view's. */
void own_crowded_once(void)
{
	char *p = map_inside(8 * MIB);
	unsigned long asides[64];

	for (int round = 0; round < 12; round++) {
		pid_t child = hold();
		size_t count = find_asides(asides, 64);
		let_go(child);
		for (int i = 0; i < 200 && settles() && !is_live(grown); i++)
			wait_ms(10);
		while (count > 0)
			take_page(asides[--count]);
		if (round == 0)
			crowd();
		must(a_child_has_it(p));
		memset(grown + MIB, round, MIB);
	}
}

void own_crowded(void)
{
	char *p = map_inside(8 * MIB);
	unsigned long asides[64];
	size_t count;
	pid_t child = hold();

	count = find_asides(asides, 64);
	must(count > 0 || !preloaded());
	let_go(child);
	for (int round = 0; round < 12; round++) {
		for (int i = 0; i < 200 && settles() && !is_live(grown); i++)
			wait_ms(10);
		while (count > 0)
			take_page(asides[--count]);
		crowd();
		must(a_child_has_it(p));
		memset(grown + MIB, round, MIB);
	}
}
