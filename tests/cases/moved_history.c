/* SPDX-License-Identifier: MIT
 *
 * Cases of test_moved: the program changes a place by system calls that the library does not see, and then asks for
 * something there. The library's lists of that place are out of date.
 */
#include <dirent.h>
#include <sys/uio.h>

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

/* Changes the protection of memory, part of which has old contents in a file. */
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

/* Advice that changes nothing about the memory still reports what is missing. */
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

/* By system calls that the library does not see, too. */
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

/* Memory that the kernel moves to a place of its choice, or to a proposed one, keeps its contents, whatever was
 * there. */
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

/* The kernel's flags of the mapping at an address, as in smaps: " rd wr ... "; "": nothing is mapped there. */
static const char *flags_of(const void *address)
{
	static char line[512];
	FILE *maps = fopen("/proc/self/smaps", "re");
	bool found = false;

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long start, end;
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			found = (unsigned long)address >= start && (unsigned long)address < end;
		else if (found && strncmp(line, "VmFlags:", 8) == 0)
			break;
	}
	fclose(maps);
	return found ? line : "";
}

/* The state of a child of this process with that name. 0: it is not one. */
static char state_of(const char *id, const char *name)
{
	char path[300], text[128] = "", state = 0;
	int parent = 0;
	FILE *stat;

	snprintf(path, sizeof path, "/proc/%s/stat", id);
	stat = fopen(path, "re");
	if (stat == NULL)
		return 0;
	if (fgets(text, sizeof text, stat) == NULL || strstr(text, name) == NULL ||
	    sscanf(strrchr(text, ')'), ") %c %d", &state, &parent) != 2 || parent != getpid())
		state = 0;
	fclose(stat);
	return state;
}

#define KEEPER "(odfork-keeper)"

static void stop_keeper(pid_t keeper)
{
	char id[32];

	snprintf(id, sizeof id, "%d", keeper);
	must(kill(keeper, SIGSTOP) == 0);
	while (state_of(id, KEEPER) != 'T')
		wait_ms(1);
}

/* The process that settles beside the program; 0: there is none. */
static pid_t find_keeper(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	must(processes != NULL);
	while (found == 0 && (entry = readdir(processes)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && state_of(entry->d_name, KEEPER) != 0)
			found = atoi(entry->d_name);
	closedir(processes);
	return found;
}

/* True between the test for descendants and the end of the settle that follows: zeros still lie over `dropped`, and
 * `beside` is hidden from children that the library does not see. */
static bool is_dropped_and_beside_hidden(const char *dropped, const char *beside)
{
	return strstr(line_of(dropped), " rw-p 00000000 00:00 0") != NULL && strstr(flags_of(dropped), " u") == NULL &&
	       strstr(line_of(beside), " rw-p ") != NULL && strstr(flags_of(beside), " dc") != NULL;
}

static char *moved_to;

static bool is_4_elsewhere(char *p)
{
	return p[0] == 5 && moved_to[0] == 4 && moved_to[MIB - 1] == 4;
}

/* Memory that is already the process's own, while the rest is hidden from children, stays theirs wherever it is
 * moved. */
void moved_away_while_hidden(void)
{
	char *p = map_inside(32 * MIB), *dropped = p + 24 * MIB;
	void *place = mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0);
	pid_t keeper = find_keeper();
	bool seen = !settles();

	must(place != MAP_FAILED);
	for (int round = 0; round < 100 && !seen; round++) {
		pid_t child = hold();
		must(keeper != 0);
		memset(p, 5, 32 * MIB); /* a settle of many steps */
		must(madvise(dropped, MIB, MADV_DONTNEED) == 0);
		memset(dropped, 4, MIB);
		let_go(child);
		while (!seen && !is_all_live(p, 32 * MIB)) {
			stop_keeper(keeper);
			seen = is_dropped_and_beside_hidden(dropped, dropped + 4 * MIB);
			must(seen || kill(keeper, SIGCONT) == 0);
		}
	}
	must(seen);
	if (!settles()) {
		memset(p, 5, 32 * MIB);
		memset(dropped, 4, MIB);
	}
	moved_to = (char *)raw(SYS_mremap, dropped, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, (long)place, 0);
	must(moved_to == place);
	must(!settles() || kill(keeper, SIGCONT) == 0);
	over_forks(is_4_elsewhere, p);
}

static long locked_kib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	long size = -1;

	must(status != NULL);
	while (size < 0 && fgets(line, sizeof line, status) != NULL)
		(void)sscanf(line, "VmLck: %ld", &size);
	fclose(status);
	return size;
}

/* Eight pages that were locked, and other memory in their place, of which the library was not told. */
static char *map_where_it_was_locked(void)
{
	char *p = map_inside(8 * MIB);

	if (mlock(p, 8 * PAGE) != 0)
		cannot_be_done_here("nothing may be locked");
	must(locked_kib() == 32);
	must(raw(SYS_munmap, p, 8 * PAGE, 0, 0, 0, 0) == 0 &&
	     raw(SYS_mmap, p, 8 * PAGE, RW, PLAIN | MAP_FIXED, -1, 0) == (long)p);
	p[0] = 5;
	return p;
}

/* That memory gets advice for which it is made anew. */
void locked_before(void)
{
	char *p = map_where_it_was_locked();

	must(madvise(p, 8 * PAGE, MADV_WIPEONFORK) == 0);
	must(locked_kib() == 0 && p[0] == 5 && p[PAGE] == 0);
}

/* Or it moves, as it grows. */
void locked_before_it_grew(void)
{
	char *p = map_where_it_was_locked();

	p = mremap(p, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
	must(p != MAP_FAILED && locked_kib() == 0 && p[0] == 5 && p[PAGE] == 0 && p[15 * PAGE] == 0);
}

/* Or it grows where it is, and is then still one mapping. */
void locked_before_it_grew_twice(void)
{
	char *p = map_where_it_was_locked(), *to;

	must(munmap(p + 8 * PAGE, 16 * PAGE) == 0);
	must(mremap(p, 8 * PAGE, 16 * PAGE, 0) == p && locked_kib() == 0);
	to = mremap(p, 16 * PAGE, 32 * PAGE, MREMAP_MAYMOVE);
	must(to != MAP_FAILED && locked_kib() == 0 && to[0] == 5 && to[8 * PAGE] == 0 && to[31 * PAGE] == 0);
}

/* Guard pages installed by process_madvise, before the heap was awake. */
void guarded_before(void)
{
	char *p = map(8 * MIB);
	struct iovec piece = { p + MIB, MIB };
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid_t child;

	if (self < 0 || syscall(SYS_process_madvise, self, &piece, 1, 102 /* MADV_GUARD_INSTALL */, 0) != (long)MIB)
		cannot_be_done_here("no guards");
	close(self);
	grown = map(32 * MIB);
	for (int i = 0; i < 3; i++) {
		must(status_of(end_at_once()) == 0);
		memset(grown, i, MIB);
		wait_ms(settles() ? 50 : 0);
	}
	child = fork();
	must(child >= 0);
	if (child == 0)
		_exit(madvise(p + MIB, 6 * PAGE, MADV_DONTNEED) == 0 && p[0] == 1 ? 0 : 1);
	must(status_of(child) == 0);
}

/* Memory that was moved by a call that the library did not see, and then grows: it must be copied as far as it is the
 * program's, and no further into a file. */
static bool grows_alone(char *p)
{
	char *to = mmap(NULL, 16 * PAGE, PROT_NONE, PLAIN, -1, 0), *large;

	must(to != MAP_FAILED);
	must(raw(SYS_mremap, p + 8 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (long)to, 0) == (long)to);
	large = mremap(to, PAGE, 7 * PAGE, MREMAP_MAYMOVE);
	must(large != MAP_FAILED);
	large[4 * PAGE] = 9;
	return large[0] == 1 && large[4 * PAGE + 1] == 0 && p[12 * PAGE] == 1;
}

void grown_after_a_move(void)
{
	char *p = map_inside(8 * MIB);

	child_agrees(grows_alone, p);
	must(grows_alone(p));
}
