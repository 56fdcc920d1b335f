/* SPDX-License-Identifier: MIT
 *
 * Cases of test_moved: what the library has in its lists of a place where the program has changed things by system
 * calls that it does not see, when the program then asks for something there.
 */
#include "moved.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static bool is_zeros(const char *p, size_t length)
{
	for (size_t at = 0; at < length; at += PAGE)
		if (p[at] != 0)
			return false;
	return true;
}

/* Of memory whose rights have changed, a part of which has old bytes in a file. */
static bool is_dropped(char *p)
{
	if (raw(SYS_mprotect, p + MIB, PAGE, PROT_READ, 0, 0, 0) != 0 ||
	    raw(SYS_mprotect, p + 2 * MIB, MIB, RW | PROT_EXEC, 0, 0, 0) != 0)
		return false;
	return madvise(p, 4 * MIB, MADV_DONTNEED) == 0 && is_zeros(p, 4 * MIB) && p[4 * MIB] == 1;
}

void dropped_with_other_rights(void)
{
	char *p = map_inside(8 * MIB);

	child_agrees(is_dropped, p);
	must(is_dropped(p));
}

void dropped_with_other_rights_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();

	must(is_dropped(p));
	let_go(child);
	must(is_zeros(p, 4 * MIB) && p[4 * MIB] == 1);
}

/* Advice that changes nothing of memory as it is tells what is missing. */
static bool is_told(char *p)
{
	static const int advices[] = { MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL,
					MADV_DOFORK, MADV_KEEPONFORK, MADV_DODUMP };

	if (raw(SYS_munmap, p + MIB, PAGE, 0, 0, 0, 0) != 0)
		return false;
	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
		if (madvise(p, 2 * MIB, advices[i]) != -1 || errno != ENOMEM)
			return false;
		if (madvise(p, MIB, advices[i]) != 0 || madvise(p + MIB + PAGE, MIB, advices[i]) != 0)
			return false;
	}
	return true;
}

void advised_over_a_gap(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child;

	child_agrees(is_told, p);
	must(is_told(p));
	child = hold();
	must(is_told(p + 4 * MIB));
	let_go(child);
}

static bool is_9(char *p)
{
	return p[0] == 9 && p[PAGE] == 9;
}

/* By system calls that nobody sees, too. */
void mapped_where_another_was(void)
{
	char *p = map_inside(8 * MIB);

	must(madvise(p + MIB, MIB, MADV_DONTFORK) == 0);
	must(raw(SYS_munmap, p + MIB, MIB, 0, 0, 0, 0) == 0);
	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	must(madvise(p + MIB, 2 * PAGE, MADV_DONTNEED) == 0);
	memset(p + MIB, 9, 2 * PAGE);
	over_forks(is_9, p + MIB);
}

/* What the kernel moves to a place of its choice, or that it was proposed, is what it was, whatever was there. */
static void move_where_another_was(char *q)
{
	char *p = map_inside(8 * MIB);
	long moved;

	must(q != MAP_FAILED);
	must(madvise(p + MIB, MIB, MADV_DONTFORK) == 0);
	must(raw(SYS_munmap, p + MIB, MIB, 0, 0, 0, 0) == 0);
	moved = syscall(SYS_mremap, q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, p + MIB);
	if (moved != (long)(p + MIB))
		cannot_be_done_here("the kernel places it elsewhere");
	must(madvise(p + MIB, 2 * PAGE, MADV_DONTNEED) == 0);
	memset(p + MIB, 9, 2 * PAGE);
	over_forks(is_9, p + MIB);
}

void given_where_another_was(void)
{
	move_where_another_was((char *)raw(SYS_mmap, NULL, 2 * PAGE, RW, PLAIN, -1, 0));
}

/* Far from all windows. */
void given_from_elsewhere(void)
{
	move_where_another_was((char *)raw(SYS_mmap, (char *)((uintptr_t)9 << 40), 2 * PAGE, RW, PLAIN, -1, 0));
}
