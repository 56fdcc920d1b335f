/* SPDX-License-Identifier: MIT
 *
 * What the cases of test_moved share: memory in a region, raw system calls, and forks during which a region is frozen
 * and settled.
 */
#ifndef TESTS_MOVED_H
#define TESTS_MOVED_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/real_call.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define NUMBER_MSEAL 462

#define MIB   ((size_t)1 << 20)
#define PAGE  ((size_t)4096)
#define RW    (PROT_READ | PROT_WRITE)
#define PLAIN (MAP_PRIVATE | MAP_ANONYMOUS)

#define must(condition) ((condition) ? (void)0 : wrong(__LINE__, #condition))

static inline __attribute__((noreturn)) void wrong(int line, const char *condition)
{
	printf("# line %d: %s (errno %d)\n", line, condition, errno);
	fflush(stdout);
	_exit(1);
}

static inline __attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	printf("# not here: %s\n", reason);
	fflush(stdout);
	_exit(77);
}

/* A system call in the program's own code, which the library does not see. */
static inline long raw(long number, const void *a, size_t b, long c, long d, long e, long f)
{
	return real_call(number, (long)a, (long)b, c, d, e, f);
}

static inline bool preloaded(void)
{
	return getenv("LD_PRELOAD") != NULL;
}

static inline void wait_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

static inline bool find_line(const void *address, char line[512])
{
	FILE *maps = fopen("/proc/self/maps", "re");
	bool found = false;

	must(maps != NULL);
	while (!found && fgets(line, 512, maps) != NULL) {
		unsigned long start, end;
		found = sscanf(line, "%lx-%lx", &start, &end) == 2 && (unsigned long)address >= start &&
			(unsigned long)address < end;
	}
	fclose(maps);
	return found;
}

/* The line of /proc/self/maps for an address; "": nothing is mapped there. The kernel reads the list without the lock
 * of the address space, so a mapping that the keeper is replacing may be missing from it; msync takes the lock. */
static inline const char *line_of(const void *address)
{
	static char line[512];
	void *page = (void *)((uintptr_t)address / PAGE * PAGE);

	while (!find_line(address, line))
		if (msync(page, PAGE, MS_ASYNC) != 0) {
			must(errno == ENOMEM);
			line[0] = '\0';
			break;
		}
	return line;
}

static inline bool is_mapped(const void *address)
{
	return line_of(address)[0] != '\0';
}

static inline bool is_inside(const void *address)
{
	return strstr(line_of(address), "odfork-region") != NULL;
}

static inline bool is_live(const void *address)
{
	return is_inside(address) && strstr(line_of(address), " rw-s ") != NULL;
}

/* Whether memory settles beside the program: for root, who has userfaultfd. Otherwise a fork settles, if that is
 * worthwhile. */
static uid_t started_as;
static __attribute__((constructor)) void note_user(void)
{
	started_as = geteuid();
}
static inline bool settles(void)
{
	return preloaded() && started_as == 0;
}

/* Whether all of it is LIVE. Then no step of a settle is about to reach it; during one, a system call that the library
 * does not see may find two mappings where there was one. */
static inline bool is_all_live(const char *memory, size_t size)
{
	for (size_t at = 0; at < size; at += MIB)
		if (!is_live(memory + at))
			return false;
	return is_live(memory + size - PAGE);
}

static inline char *map(size_t size)
{
	char *memory = mmap(NULL, size, RW, PLAIN, -1, 0);

	must(memory != MAP_FAILED);
	memset(memory, 1, size);
	return memory;
}

static char *grown; /* the memory that wakes the heap */

static inline int status_of(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	return status;
}

static inline pid_t end_at_once(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(0);
	return pid;
}

static inline char *map_inside(size_t size)
{
	char *memory;

	grown = map(32 * MIB);
	/* New memory of a program that has forked is in a region from the start, and LIVE as soon as the older memory
	 * is. If nothing settles beside the program, that holds for what it maps before. */
	if (settles() || !preloaded())
		must(status_of(end_at_once()) == 0);
	memory = map(size);
	for (int i = 0; i < (is_inside(memory) ? 30000 : 3000) && settles() && !is_all_live(memory, size); i++) {
		must(munmap(memory, size) == 0);
		wait_ms(1);
		memory = map(size);
	}
	if (preloaded() && !is_inside(memory))
		cannot_be_done_here("no regions");
	return memory;
}

typedef bool check_function(char *memory);

static inline void child_agrees(check_function *check, char *memory)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		bool right = check(memory);
		if (right) /* the child's own copy */
			grown[3] = 99;
		_exit(right ? 0 : 1);
	}
	must(status_of(pid) == 0);
	must(grown[3] == 1);
}

/* Forks while the region is frozen and settled. */
static inline void over_forks(check_function *check, char *memory)
{
	for (int round = 0; round < 4; round++) {
		must(check(memory));
		child_agrees(check, memory);
		must(check(memory));
		memset(grown + MIB, round, MIB); /* so that a settle is worthwhile */
		if (round % 2 == 1)
			for (int i = 0; i < 200 && settles() && !is_live(grown); i++)
				wait_ms(10);
	}
	must(check(memory));
}

/* A child that stays, so that its memory is FROZEN in the parent. */
static inline pid_t hold(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	memset(grown + 4 * MIB, 2, MIB);
	return pid;
}

static inline void let_go(pid_t pid)
{
	must(kill(pid, SIGKILL) == 0);
	(void)status_of(pid);
}

/* moved_away.c */
void moved_away(void);
void moved_away_while_frozen(void);
void moved_away_and_written(void);
void moved_away_executable(void);
void moved_away_beside_a_thread(void);
void moved_away_unmapped_around(void);
void moved_away_unmapped_itself(void);
void moved_away_mapped_over(void);
void moved_away_mapped_into(void);
void moved_away_allocated_into(void);
void moved_away_dropped_around(void);
void moved_away_freed_around(void);
void moved_away_moved_around(void);

/* moved_copied.c */
void copied_sparse(void);
void copied_sparse_while_frozen(void);
void copied_sparse_for_advice(void);
void copied_larger_than_the_machine(void);
void copied_without_a_promise(void);
void copied_not_after_all(void);
void copied_not_from_elsewhere(void);
void copied_to_be_executable(void);
void copied_for_its_key(void);
void copied_not_with_a_key(void);

/* moved_history.c */
void locked_before(void);
void locked_before_it_grew(void);
void locked_before_it_grew_twice(void);
void guarded_before(void);
void grown_after_a_move(void);
void dropped_with_other_rights(void);
void dropped_with_other_rights_while_frozen(void);
void advised_over_a_gap(void);
void mapped_where_another_was(void);
void given_where_another_was(void);
void given_from_elsewhere(void);
void moved_away_while_hidden(void);

/* moved_kinds.c */
void moved_with_large_pages(void);
void moved_by_a_child(void);
void locked_past(void);
void locked_past_before_a_fork(void);
void names(void);

/* moved_own.c */
void own_unmapped(void);
void own_mapped_over(void);
void own_advised(void);
void own_moved_over(void);
void own_crowded(void);
void own_crowded_once(void);

/* moved_refused.c */
void mapping_refused(void);

/* moved_pages.c */
void large_pages_asked(void);
void large_pages_collapsed(void);
void large_pages_forbidden(void);
void large_pages_beside_data(void);
void mappings_do_not_pile_up(void);
#endif
