/* SPDX-License-Identifier: MIT
 *
 * Cases of test_moved: the program moves memory out of a region by a system call that the library does not see.
 */
#include "moved.h"

static char *moved_to;

static bool is_elsewhere(char *p)
{
	return p[0] == 1 && p[2 * MIB] == 1 && moved_to[0] == 77 && moved_to[MIB - 1] == 1 && !is_mapped(p + MIB);
}

void moved_away(void)
{
	char *p = map_inside(8 * MIB);
	long place = raw(SYS_mremap, p + MIB, MIB, 2 * MIB, MREMAP_MAYMOVE, 0, 0);

	must(place > 0);
	moved_to = (char *)place;
	must(moved_to[0] == 1);
	moved_to[0] = 77;
	over_forks(is_elsewhere, p);
	memset(moved_to + MIB, 3, MIB); /* the part by which it has grown */
	over_forks(is_elsewhere, p);
}

void moved_away_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();
	long place = raw(SYS_mremap, p + MIB, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED,
			 (long)mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0), 0);

	must(place > 0);
	moved_to = (char *)place;
	moved_to[0] = 77;
	let_go(child);
	over_forks(is_elsewhere, p);
}

static bool is_one_elsewhere(char *p)
{
	return p[7 * MIB] == 1 && moved_to[0] == 1 && moved_to[MIB - 1] == 1 &&
	       strstr(line_of(moved_to), " r-x") != NULL;
}

void moved_away_executable(void)
{
	char *p = map_inside(8 * MIB);

	for (int frozen = 0; frozen < 2; frozen++) {
		char *from = p + 2 * frozen * MIB;
		pid_t child = frozen ? hold() : 0;
		long place;
		must(raw(SYS_mprotect, from, MIB, PROT_READ | PROT_EXEC, 0, 0, 0) == 0);
		place = raw(SYS_mremap, from, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED,
			    (long)mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0), 0);
		must(place > 0);
		moved_to = (char *)place;
		if (frozen)
			let_go(child);
		memset(grown + MIB, 1, MIB);
		wait_ms(100);
		over_forks(is_one_elsewhere, p);
	}
}

/* The keeper turns it into ordinary memory beside the program, which continues to write there. */
void moved_away_and_written(void)
{
	char *p = map_inside(16 * MIB);

	if (preloaded() && geteuid() != 0) /* some of it may be lost then: odfork_heap(7) */
		cannot_be_done_here("takes userfaultfd, which root has");
	for (int round = 0; round < 8; round++) {
		char *from = p + 2 * round * MIB, *place, value = 1;
		pid_t child = hold();
		long moved = raw(SYS_mremap, from, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED,
				 (long)mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0), 0);
		must(moved > 0);
		place = (char *)moved;
		let_go(child);
		for (int i = 0; i < 2000 && (!preloaded() || i % 100 != 99 || is_inside(place)); i++, value++)
			for (size_t at = 0; at < MIB; at += PAGE) {
				must(place[at] == value);
				place[at] = (char)(value + 1);
			}
		must(place[MIB - 1] == 1 && from[MIB] == 1);
	}
}

#define STRAY (8 * MIB)

static char *written;
static atomic_bool is_over;

/* Writes at any point of the forking thread's work, on one processor, too: it sleeps after each turn, and has a
 * real-time policy if permitted. */
static void *write_on(void *turns)
{
	const struct sched_param first = { .sched_priority = 1 };
	const struct timespec moment = { .tv_nsec = 20000 };

	(void)prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
	for (char value = 1; !is_over; value++) {
		for (size_t at = 0; at < STRAY; at += PAGE) {
			must(written[at] == value);
			written[at] = (char)(value + 1);
		}
		*(atomic_int *)turns += 1;
		(void)nanosleep(&moment, NULL);
	}
	return NULL;
}

/* A fork finds it, and another thread continues to write there. */
void moved_away_beside_a_thread(void)
{
	char *p = map_inside(8 * STRAY);

	if (preloaded() && geteuid() != 0) /* some of it may be lost then: odfork_heap(7) */
		cannot_be_done_here("takes userfaultfd, which root has");
	for (size_t round = 0; round < 4; round++) {
		long moved = raw(SYS_mremap, p + 2 * round * STRAY, STRAY, STRAY, MREMAP_MAYMOVE | MREMAP_FIXED,
				 (long)mmap(NULL, STRAY, PROT_NONE, PLAIN, -1, 0), 0);
		atomic_int turns = 0;
		pthread_t writer;
		pid_t child;
		must(moved > 0);
		written = (char *)moved;
		is_over = false;
		must(pthread_create(&writer, NULL, write_on, &turns) == 0);
		while (turns == 0)
			wait_ms(1);
		child = fork();
		must(child >= 0);
		if (child == 0)
			_exit(written[STRAY - 1] == 1 ? 0 : 1);
		must(status_of(child) == 0);
		is_over = true;
		must(pthread_join(writer, NULL) == 0);
	}
}

static bool is_whole_elsewhere(char *p)
{
	(void)p;
	for (size_t at = 0; at < MIB; at += PAGE)
		if (moved_to[at] != (at < MIB / 2 ? 77 : 1))
			return false;
	return true;
}

static int unmap_around(char *p)
{
	return munmap(p, 8 * MIB);
}

static int unmap_nothing(char *p)
{
	return munmap(p + MIB, MIB);
}

static int map_over_it(char *p)
{
	return mmap(p, 8 * MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (void *)p ? 0 : -1;
}

static int map_into_it(char *p)
{
	(void)p;
	for (int i = 0; i < 64; i++)
		memset(map(MIB / 4), 5, MIB / 4);
	return 0;
}

static int allocate_into_it(char *p)
{
	(void)p;
	for (int i = 0; i < 64; i++) {
		char *block = malloc(MIB / 4);
		must(block != NULL);
		memset(block, 5, MIB / 4);
	}
	return 0;
}

static int drop_around(char *p)
{
	return madvise(p, 8 * MIB, MADV_DONTNEED) == -1 && errno == ENOMEM ? 0 : -1;
}

static int free_around(char *p)
{
	return madvise(p, 8 * MIB, MADV_FREE) == -1 && errno == ENOMEM ? 0 : -1;
}

static int move_around(char *p)
{
	return mremap(p, 8 * MIB, 16 * MIB, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT ? 0 : -1;
}

static void move_away_and(int (*then)(char *p), char *p)
{
	long place = raw(SYS_mremap, p + MIB, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED,
			 (long)mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0), 0);

	must(place > 0);
	moved_to = (char *)place;
	memset(moved_to, 77, MIB / 2);
	must(then(p) == 0);
	must(is_whole_elsewhere(p));
	child_agrees(is_whole_elsewhere, p);
}

/* Whatever the program does around the old place must not affect the memory at its new place. For memory that is LIVE,
 * and for FROZEN memory. */
static void move_away_both(int (*then)(char *p))
{
	char *first = map_inside(8 * MIB), *second = map(8 * MIB);
	pid_t child;

	move_away_and(then, first);
	child = hold();
	move_away_and(then, second);
	let_go(child);
}

void moved_away_unmapped_around(void)
{
	move_away_both(unmap_around);
}

void moved_away_unmapped_itself(void)
{
	move_away_both(unmap_nothing);
}

void moved_away_mapped_over(void)
{
	move_away_both(map_over_it);
}

void moved_away_mapped_into(void)
{
	move_away_both(map_into_it);
}

void moved_away_allocated_into(void)
{
	move_away_both(allocate_into_it);
}

void moved_away_dropped_around(void)
{
	move_away_both(drop_around);
}

void moved_away_freed_around(void)
{
	move_away_both(free_around);
}

void moved_away_moved_around(void)
{
	move_away_both(move_around);
}
