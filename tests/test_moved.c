/* SPDX-License-Identifier: MIT
 *
 * Memory of the heap that the program has moved, unmapped, mapped over, sealed or named, by calls that the library sees and by system calls that it does not.
 * Each case asserts what is right without the library; it runs so, and with the library preloaded, heap=auto and heap=on. Each is a process of its own: this
 * program executed again.
 *
 *   test_moved              all, as TAP
 *   test_moved NAME         that case
 *
 * ODF_TEST_SCALE=N makes the counted rounds N times as many.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
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

static __attribute__((noreturn)) void wrong(int line, const char *condition)
{
	printf("# line %d: %s (errno %d)\n", line, condition, errno);
	fflush(stdout);
	_exit(1);
}

static __attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	printf("# not here: %s\n", reason);
	fflush(stdout);
	_exit(77);
}

/* A system call in code of the program's own. */
static long raw(long number, const void *a, size_t b, long c, long d, long e, long f)
{
#ifdef __x86_64__
	long result;
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
#elif defined __aarch64__
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = (long)a, x1 __asm__("x1") = (long)b, x2 __asm__("x2") = c, x3 __asm__("x3") = d,
		x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
	cannot_be_done_here("no system call in assembly");
#endif
}

static bool preloaded(void)
{
	return getenv("LD_PRELOAD") != NULL;
}

static void wait_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

static bool find_line(const void *address, char line[512])
{
	FILE *maps = fopen("/proc/self/maps", "re");
	bool found = false;

	must(maps != NULL);
	while (!found && fgets(line, 512, maps) != NULL) {
		unsigned long start, end;
		found = sscanf(line, "%lx-%lx", &start, &end) == 2 && (unsigned long)address >= start && (unsigned long)address < end;
	}
	fclose(maps);
	return found;
}

/* The line of /proc/self/maps about an address; "": nothing is there. The list is read without the lock of the address space, so that what the keeper
 * replaces at that moment is missing from it; msync takes the lock. */
static const char *line_of(const void *address)
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

static bool is_mapped(const void *address)
{
	return line_of(address)[0] != '\0';
}

static bool is_inside(const void *address)
{
	return strstr(line_of(address), "odfork-region") != NULL;
}

static bool is_live(const void *address)
{
	return is_inside(address) && strstr(line_of(address), " rw-s ") != NULL;
}

static char *map(size_t size)
{
	char *memory = mmap(NULL, size, RW, PLAIN, -1, 0);

	must(memory != MAP_FAILED);
	memset(memory, 1, size);
	return memory;
}

static char *grown; /* the memory that wakes the heap */

static char *map_inside(size_t size)
{
	char *memory;

	grown = map(32 * MIB);
	memory = map(size);
	if (preloaded() && !is_inside(memory))
		cannot_be_done_here("no regions");
	return memory;
}

static int status_of(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	return status;
}

typedef bool check_function(char *memory);

static void child_agrees(check_function *check, char *memory)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		bool right = check(memory);
		if (right) /* it is the child's own */
			grown[3] = 99;
		_exit(right ? 0 : 1);
	}
	must(status_of(pid) == 0);
	must(grown[3] == 1);
}

/* Forks, amid which the region is frozen and settled. */
static void over_forks(check_function *check, char *memory)
{
	for (int round = 0; round < 4; round++) {
		must(check(memory));
		child_agrees(check, memory);
		must(check(memory));
		memset(grown + MIB, round, MIB); /* so that settling pays */
		if (round % 2 == 1)
			for (int i = 0; i < 200 && preloaded() && !is_live(grown); i++)
				wait_ms(10);
	}
	must(check(memory));
}

/* While a child is there, and what it has is FROZEN in its parent. */
static pid_t hold(void)
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

static void let_go(pid_t pid)
{
	must(kill(pid, SIGKILL) == 0);
	(void)status_of(pid);
}

/* ---- By system calls that nobody sees ----------------------------------------------------------------------------------------------- */

static bool has_7_in_the_middle(char *p)
{
	return p[0] == 1 && p[MIB - 1] == 1 && p[MIB] == 7 && p[2 * MIB - 1] == 7 && p[2 * MIB] == 1 && p[8 * MIB - 1] == 1;
}

static void mapped_over(void)
{
	char *p = map_inside(8 * MIB);

	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	must(p[MIB] == 0);
	memset(p + MIB, 7, MIB);
	over_forks(has_7_in_the_middle, p);
}

static void mapped_over_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();

	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	must(p[MIB] == 0);
	memset(p + MIB, 7, MIB);
	must(has_7_in_the_middle(p));
	let_go(child);
	over_forks(has_7_in_the_middle, p);
}

static bool is_shared_with_parent(char *p)
{
	static int turn;

	if (p[0] != 1 || p[3 * MIB] != 1)
		return false;
	p[MIB + PAGE + (size_t)turn++ % 100] = 55; /* in the file, whoever does it */
	return p[2 * MIB] == 8;
}

/* Another's file, shared: it is not to be made private, nor emptied. */
static void file_mapped_over(void)
{
	char *p = map_inside(8 * MIB), *other;
	int file = (int)syscall(SYS_memfd_create, "file", 0u);

	must(file >= 0 && ftruncate(file, (off_t)(2 * MIB)) == 0);
	must(raw(SYS_mmap, p + MIB, 2 * MIB, RW, MAP_SHARED | MAP_FIXED, file, 0) == (long)(p + MIB));
	memset(p + MIB, 8, 2 * MIB);
	over_forks(is_shared_with_parent, p);
	must(madvise(p, 8 * MIB, MADV_DONTNEED) == 0);
	must(p[0] == 0 && p[MIB] == 8 && p[3 * MIB - 1] == 8 && p[3 * MIB] == 0);
	other = mmap(NULL, 2 * MIB, RW, MAP_SHARED, file, 0);
	must(other != MAP_FAILED && other[0] == 8 && other[2 * MIB - 1] == 8 && other[PAGE] == 55);
}

static bool has_a_gap(char *p)
{
	return p[0] == 1 && !is_mapped(p + MIB) && !is_mapped(p + 2 * MIB - PAGE) && p[2 * MIB] == 1 && p[4 * MIB] == 1;
}

static void unmapped(void)
{
	char *p = map_inside(8 * MIB);

	must(raw(SYS_munmap, p + MIB, MIB, 0, 0, 0, 0) == 0);
	over_forks(has_a_gap, p);
	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	memset(p + MIB, 7, MIB);
	over_forks(has_7_in_the_middle, p);
	must(munmap(p, 8 * MIB) == 0 && !is_mapped(p + MIB + PAGE * 3));
}

static void unmapped_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();

	must(raw(SYS_munmap, p + MIB, MIB, 0, 0, 0, 0) == 0);
	must(has_a_gap(p));
	let_go(child);
	over_forks(has_a_gap, p);
}

static bool cannot_be_written(char *p)
{
	return p[MIB] == 1 && strstr(line_of(p + MIB), " r--") != NULL && strstr(line_of(p), " rw") != NULL && strstr(line_of(p + 2 * MIB), " rw") != NULL &&
	       p[2 * MIB] == 1;
}

static void rights_taken(void)
{
	char *p = map_inside(8 * MIB);

	must(raw(SYS_mprotect, p + MIB, MIB, PROT_READ, 0, 0, 0) == 0);
	over_forks(cannot_be_written, p);
	must(mprotect(p, 8 * MIB, RW) == 0);
	memset(p, 5, 8 * MIB);
}

static void rights_taken_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();

	must(raw(SYS_mprotect, p + MIB, MIB, PROT_READ, 0, 0, 0) == 0);
	let_go(child);
	over_forks(cannot_be_written, p);
}

static char *moved_to;

static bool is_elsewhere(char *p)
{
	return p[0] == 1 && p[2 * MIB] == 1 && moved_to[0] == 77 && moved_to[MIB - 1] == 1 && !is_mapped(p + MIB);
}

static void moved_away(void)
{
	char *p = map_inside(8 * MIB);
	long place = raw(SYS_mremap, p + MIB, MIB, 2 * MIB, MREMAP_MAYMOVE, 0, 0);

	must(place > 0);
	moved_to = (char *)place;
	must(moved_to[0] == 1);
	moved_to[0] = 77;
	over_forks(is_elsewhere, p);
	memset(moved_to + MIB, 3, MIB); /* what it has grown by */
	over_forks(is_elsewhere, p);
}

static void moved_away_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();
	long place = raw(SYS_mremap, p + MIB, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, (long)mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0), 0);

	must(place > 0);
	moved_to = (char *)place;
	moved_to[0] = 77;
	let_go(child);
	over_forks(is_elsewhere, p);
}

/* The keeper makes ordinary memory of it beside the program, which goes on writing there. */
static void moved_away_and_written(void)
{
	char *p = map_inside(16 * MIB);

	for (int round = 0; round < 8; round++) {
		char *from = p + 2 * round * MIB, *place, value = 1;
		pid_t child = hold();
		long moved = raw(SYS_mremap, from, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, (long)mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0), 0);
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

static char *written;
static atomic_bool is_over;

static void *write_on(void *rounds)
{
	for (char value = 1; !is_over; value++)
		for (size_t at = 0; at < MIB; at += PAGE) {
			must(written[at] == value);
			written[at] = (char)(value + 1);
			*(atomic_int *)rounds += 1;
		}
	return NULL;
}

/* A fork finds it, and another thread goes on writing there. */
static void moved_away_beside_a_thread(void)
{
	char *p = map_inside(16 * MIB);

	for (int round = 0; round < 8; round++) {
		long moved = raw(SYS_mremap, p + 2 * round * MIB, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED,
				 (long)mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0), 0);
		atomic_int rounds = 0;
		pthread_t writer;
		pid_t child;
		must(moved > 0);
		written = (char *)moved;
		is_over = false;
		must(pthread_create(&writer, NULL, write_on, &rounds) == 0);
		while (rounds == 0)
			;
		child = fork();
		must(child >= 0);
		if (child == 0)
			_exit(written[MIB - 1] == 1 ? 0 : 1);
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
	long place = raw(SYS_mremap, p + MIB, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, (long)mmap(NULL, MIB, PROT_NONE, PLAIN, -1, 0), 0);

	must(place > 0);
	moved_to = (char *)place;
	memset(moved_to, 77, MIB / 2);
	must(then(p) == 0);
	must(is_whole_elsewhere(p));
	child_agrees(is_whole_elsewhere, p);
}

/* What the program does around the place takes nothing from where the memory is now: of memory that is LIVE, and of
 * FROZEN memory. */
static void move_away_both(int (*then)(char *p))
{
	char *first = map_inside(8 * MIB), *second = map(8 * MIB);
	pid_t child;

	move_away_and(then, first);
	child = hold();
	move_away_and(then, second);
	let_go(child);
}

static void moved_away_unmapped_around(void)
{
	move_away_both(unmap_around);
}

static void moved_away_unmapped_itself(void)
{
	move_away_both(unmap_nothing);
}

static void moved_away_mapped_over(void)
{
	move_away_both(map_over_it);
}

static void moved_away_mapped_into(void)
{
	move_away_both(map_into_it);
}

static void moved_away_allocated_into(void)
{
	move_away_both(allocate_into_it);
}

static void moved_away_dropped_around(void)
{
	move_away_both(drop_around);
}

static void moved_away_freed_around(void)
{
	move_away_both(free_around);
}

static void moved_away_moved_around(void)
{
	move_away_both(move_around);
}

static bool has_7(char *p)
{
	return p[0] == 7 && p[MIB - 1] == 7;
}

/* Where the program had memory and gave it back. */
static void mapped_in_a_hole(void)
{
	char *p = map_inside(MIB), *others[64];

	must(munmap(p, MIB) == 0);
	must(raw(SYS_mmap, p, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)p);
	memset(p, 7, MIB);
	for (int i = 0; i < 64; i++) {
		others[i] = map(MIB / 4);
		must(others[i] + MIB / 4 <= p || others[i] >= p + MIB);
	}
	over_forks(has_7, p);
	must(mprotect(p, MIB, PROT_READ) == 0 && mprotect(p, MIB, RW) == 0 && madvise(p, PAGE, MADV_DONTNEED) == 0 && p[0] == 0);
	must(munmap(p, MIB) == 0);
	must(mprotect(p, PAGE, PROT_READ) == -1 && errno == ENOMEM);
}

static bool has_7_and_9(char *p)
{
	return has_7_in_the_middle(p) && p[4 * MIB - 1] == 1 && p[4 * MIB] == 9 && p[5 * MIB - 1] == 9 && p[5 * MIB] == 1;
}

/* Where the list of mappings cannot be had. */
static void without_a_descriptor(void)
{
	char *p = map_inside(8 * MIB);
	struct rlimit none = { 3, 3 };

	if (preloaded() && !is_live(p))
		cannot_be_done_here("it is not LIVE");
	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	memset(p + MIB, 7, MIB);
	child_agrees(has_7_in_the_middle, p);
	for (int i = 0; i < 300 && preloaded() && !is_live(p); i++)
		wait_ms(10);
	must(raw(SYS_mmap, p + 4 * MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + 4 * MIB));
	memset(p + 4 * MIB, 9, MIB);
	must(setrlimit(RLIMIT_NOFILE, &none) == 0);
	child_agrees(has_7_and_9, p);
	must(has_7_and_9(p));
	child_agrees(has_7_and_9, p);
}

/* ---- By calls that the library has a part in ------------------------------------------------------------------------------------------- */

static bool segment_is_there(char *p)
{
	return p[0] == 5 && p[MIB - 1] == 5;
}

static void segments(void)
{
	char *p = map_inside(4 * MIB), *q;
	int id = shmget(IPC_PRIVATE, MIB, IPC_CREAT | 0600);
	pid_t pid;

	if (id < 0)
		cannot_be_done_here("no System V shared memory");
	must(shmat(id, p, 0) == (void *)-1 && errno == EINVAL && p[0] == 1);
	must(shmat(id, p + 1, SHM_REMAP) == (void *)-1 && errno == EINVAL);
	must(shmat(id, p, SHM_REMAP) == p);
	q = map(MIB);
	must(munmap(q, MIB) == 0);
	must(syscall(SYS_shmat, id, q, 0) == (long)q);
	must(shmctl(id, IPC_RMID, NULL) == 0);
	memset(q, 5, MIB);
	over_forks(segment_is_there, p);
	over_forks(segment_is_there, q);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		q[100] = 66;
		_exit(0);
	}
	must(status_of(pid) == 0 && p[100] == 66 && p[MIB] == 1);
	must(shmdt(q) == 0 && !(is_mapped(q) && !preloaded()));
	must(shmdt(q) == -1 && errno == EINVAL);
	must(mprotect(q, PAGE, PROT_READ) == -1 && errno == ENOMEM);
	must(mmap(q, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == q && q[0] == 0);
	must(syscall(SYS_shmdt, p) == 0);
	must(mprotect(p, PAGE, PROT_READ) == -1 && errno == ENOMEM && p[MIB] == 1);
}

static bool is_as_filled(char *p)
{
	for (size_t at = 0; at < 2 * MIB; at += PAGE)
		if (p[at] != (char)(at / PAGE))
			return false;
	return true;
}

static void other_parts_of_a_file(void)
{
	char *p = map_inside(2 * MIB), *q;
	int file = (int)syscall(SYS_memfd_create, "file", 0u);

	for (size_t at = 0; at < 2 * MIB; at += PAGE)
		p[at] = (char)(at / PAGE);
	must(remap_file_pages(p, MIB, 0, 5, 0) == -1 && errno == EINVAL);
	must(syscall(SYS_remap_file_pages, p + MIB, PAGE, 0, 0, 0) == -1 && errno == EINVAL);
	must(is_as_filled(p));
	over_forks(is_as_filled, p);
	/* Of one that the program has put there. */
	must(ftruncate(file, (off_t)(2 * PAGE)) == 0 && pwrite(file, "x", 1, 0) == 1 && pwrite(file, "y", 1, (off_t)PAGE) == 1);
	q = mmap(p, PAGE, RW, MAP_SHARED | MAP_FIXED, file, 0);
	must(q == p && *q == 'x');
	must(remap_file_pages(q, PAGE, 0, 1, 0) == 0 && *q == 'y');
}

static bool is_sealed_7(char *p)
{
	return p[0] == 1 && p[MIB] == 7 && p[2 * MIB - 1] == 7 && p[2 * MIB] == 1;
}

static void sealed(void)
{
	char *p = map_inside(4 * MIB), *q = map(MIB);

	must(mprotect(q, MIB, PROT_READ) == 0);
	memset(p + MIB, 7, MIB);
	if (syscall(NUMBER_MSEAL, p + MIB, MIB, 0ul) != 0)
		cannot_be_done_here("no mseal");
	must(syscall(NUMBER_MSEAL, q, MIB, 0ul) == 0);
	must(syscall(NUMBER_MSEAL, p, MIB, 1ul) == -1 && errno == EINVAL);
	must(syscall(NUMBER_MSEAL, p + 1, MIB, 0ul) == -1 && errno == EINVAL);
	over_forks(is_sealed_7, p);
	must(munmap(p + MIB, PAGE) == -1 && errno == EPERM);
	must(munmap(p, 4 * MIB) == -1 && errno == EPERM && p[0] == 1);
	must(mprotect(p + MIB, PAGE, PROT_READ) == -1 && errno == EPERM);
	must(mmap(p, 4 * MIB, RW, PLAIN | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM && p[0] == 1);
	must(mremap(p + MIB, MIB, 2 * MIB, MREMAP_MAYMOVE) == MAP_FAILED && errno == EPERM);
	must(madvise(q, MIB, MADV_DONTNEED) == -1 && errno == EPERM && q[0] == 1);
	must(syscall(NUMBER_MSEAL, p, 2 * MIB, 0ul) == 0);
	over_forks(is_sealed_7, p);
	must(munmap(p + 2 * MIB, 2 * MIB) == 0);
}

static bool is_sealed_constant(char *p)
{
	return p[0] == 1 && p[MIB] == 7 && p[2 * MIB - 1] == 7 && p[2 * MIB] == 1 && strstr(line_of(p + MIB), " r--") != NULL;
}

/* As loaders do it with what is constant from then on. */
static void sealed_past_the_library(void)
{
	char *p = map_inside(4 * MIB);

	memset(p + MIB, 7, MIB);
	must(raw(SYS_mprotect, p + MIB, MIB, PROT_READ, 0, 0, 0) == 0);
	if (raw(NUMBER_MSEAL, p + MIB, MIB, 0, 0, 0, 0) != 0)
		cannot_be_done_here("no mseal");
	over_forks(is_sealed_constant, p);
	must(munmap(p + MIB, PAGE) == -1 && errno == EPERM);
	over_forks(is_sealed_constant, p);
}

static bool has_grown(char *low)
{
	return low[0] == 3 && low[-(long)MIB] == 3;
}

static void grows_downward(void)
{
	char *place = map_inside(4 * MIB), *low;

	must(munmap(place, 4 * MIB) == 0);
	low = place + 4 * MIB - 65536;
	must(mmap(low, 65536, RW, PLAIN | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == low);
	for (char *at = low + 65536 - PAGE; at >= low - MIB; at -= PAGE)
		*(volatile char *)at = 3;
	over_forks(has_grown, low);
	must(munmap(low - MIB, MIB + 65536) == 0);
}

static void names(void)
{
	char *p = map_inside(MIB);
	int file = (int)syscall(SYS_memfd_create, "file", 0u);
	char *q = mmap(NULL, PAGE, RW, PLAIN, -1, 0), *shared;

	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, q, PAGE, "mine") != 0) { /* a kernel without names */
		int error = errno;
		must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == -1 && errno == error);
		return;
	}
	must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == 0);
	must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, NULL) == 0);
	must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "no\nname") == -1 && errno == EINVAL);
	must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, 16) == -1 && errno == EFAULT);
	must(mprotect(p, PAGE, PROT_READ) == 0 && prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == 0);
	must(ftruncate(file, (off_t)PAGE) == 0);
	shared = mmap(p, PAGE, RW, MAP_SHARED | MAP_FIXED, file, 0);
	must(shared == p && prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, PAGE, "mine") == -1 && errno == EBADF);
	must(munmap(p, MIB / 2) == 0 && prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == -1 && errno == ENOMEM);
}

/* ---- Large pages ----------------------------------------------------------------------------------------------------------------------- */

/* MiB of them in the process. */
static size_t large_pages(void)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[512];
	size_t sum = 0, size;

	must(smaps != NULL);
	while (fgets(line, sizeof line, smaps) != NULL)
		if (sscanf(line, "AnonHugePages: %zu", &size) == 1 || sscanf(line, "ShmemPmdMapped: %zu", &size) == 1)
			sum += size;
	fclose(smaps);
	return sum / 1024;
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

/* How many MiB of large pages the machine gives at this moment for so many mappings of such a size that are past the library. It may be short of them. */
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
	if (given < count * (size >> 20) / 2)
		cannot_be_done_here("no large pages");
	return given / 4 * 3;
}

static bool is_4_all_over(char *p)
{
	for (size_t at = 0; at < 32 * MIB; at += PAGE)
		if (p[at] != 4)
			return false;
	return true;
}

static void large_pages_asked(void)
{
	size_t before, given;
	char *p, *arrays[16];
	void *aligned;

	grown = map(32 * MIB);
	must_give_large_pages();
	given = large_pages_for(1, 32 * MIB);
	before = large_pages();
	p = mmap(NULL, 32 * MIB, RW, PLAIN, -1, 0);
	must(p != MAP_FAILED && madvise(p, 32 * MIB, MADV_HUGEPAGE) == 0 && p[5] == 0);
	memset(p, 4, 32 * MIB);
	must(large_pages() >= before + given);
	over_forks(is_4_all_over, p);
	must(large_pages() >= before + given / 4 * 3); /* a page or two were divided by children */
	must(madvise(p, 32 * MIB, MADV_NOHUGEPAGE) == 0 && madvise(p, 32 * MIB, MADV_DONTNEED) == 0 && p[9 * MIB] == 0);
	must(munmap(p, 32 * MIB) == 0);
	/* What malloc gives, as numpy asks for it, over and over. */
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
	must(large_pages() >= before + given / 2); /* they need not begin where a large page does */
	for (int i = 0; i < 16; i++) {
		must(arrays[i][0] == 32 + i && arrays[i][8 * MIB - 1] == 32 + i);
		free(arrays[i]);
	}
	given = large_pages_for(1, 16 * MIB);
	must(posix_memalign(&aligned, 2 * MIB, 16 * MIB) == 0);
	before = large_pages();
	must(madvise(aligned, 16 * MIB, MADV_HUGEPAGE) == 0);
	memset(aligned, 6, 16 * MIB);
	must(large_pages() >= before + given);
}

static void large_pages_collapsed(void)
{
	char *p;
	size_t before;

	grown = map(32 * MIB);
	must_give_large_pages();
	p = map(32 * MIB);
	memset(p, 4, 32 * MIB);
	before = large_pages();
	if (madvise(p, 32 * MIB, MADV_COLLAPSE) != 0)
		cannot_be_done_here("no MADV_COLLAPSE");
	must(large_pages() >= before + 28);
	over_forks(is_4_all_over, p);
}

static void large_pages_forbidden(void)
{
	char *p;

	grown = map(32 * MIB);
	must(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	p = mmap(NULL, 32 * MIB, RW, PLAIN, -1, 0);
	must(p != MAP_FAILED && madvise(p, 32 * MIB, MADV_HUGEPAGE) == 0);
	memset(p, 4, 32 * MIB);
	must(large_pages() == 0);
	over_forks(is_4_all_over, p);
	if (preloaded())
		must(is_inside(p));
}

/* Written in part before: what is there stays, and the rest has large pages. */
static void large_pages_beside_data(void)
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
	must(large_pages() >= before + 24);
	over_forks(is_4_all_over, p);
}

/* ---- Over many rounds --------------------------------------------------------------------------------------------------------------------- */

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

/* Pieces that were frozen and settled are one mapping again, however often. */
static void mappings_do_not_pile_up(void)
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
		for (int i = 0; i < 300 && preloaded() && !(is_live(p) && is_live(grown)); i++)
			wait_ms(1);
		settled += is_live(p) && is_live(grown);
		if (round == 4)
			before = mappings_inside();
	}
	for (int i = 0; i < 500 && preloaded() && !(is_live(p) && is_live(grown)); i++)
		wait_ms(10);
	if (preloaded() && settled == 0)
		cannot_be_done_here("nothing settles");
	must(mappings_inside() <= before + 4);
}

/* ---- All of them -------------------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "mapped_over", mapped_over },
	{ "mapped_over_while_frozen", mapped_over_while_frozen },
	{ "file_mapped_over", file_mapped_over },
	{ "unmapped", unmapped },
	{ "unmapped_while_frozen", unmapped_while_frozen },
	{ "rights_taken", rights_taken },
	{ "rights_taken_while_frozen", rights_taken_while_frozen },
	{ "moved_away", moved_away },
	{ "moved_away_while_frozen", moved_away_while_frozen },
	{ "moved_away_and_written", moved_away_and_written },
	{ "moved_away_beside_a_thread", moved_away_beside_a_thread },
	{ "moved_away_unmapped_around", moved_away_unmapped_around },
	{ "moved_away_unmapped_itself", moved_away_unmapped_itself },
	{ "moved_away_mapped_over", moved_away_mapped_over },
	{ "moved_away_mapped_into", moved_away_mapped_into },
	{ "moved_away_allocated_into", moved_away_allocated_into },
	{ "moved_away_dropped_around", moved_away_dropped_around },
	{ "moved_away_freed_around", moved_away_freed_around },
	{ "moved_away_moved_around", moved_away_moved_around },
	{ "mapped_in_a_hole", mapped_in_a_hole },
	{ "without_a_descriptor", without_a_descriptor },
	{ "segments", segments },
	{ "other_parts_of_a_file", other_parts_of_a_file },
	{ "sealed", sealed },
	{ "sealed_past_the_library", sealed_past_the_library },
	{ "grows_downward", grows_downward },
	{ "names", names },
	{ "large_pages_asked", large_pages_asked },
	{ "large_pages_collapsed", large_pages_collapsed },
	{ "large_pages_forbidden", large_pages_forbidden },
	{ "large_pages_beside_data", large_pages_beside_data },
	{ "mappings_do_not_pile_up", mappings_do_not_pile_up },
};
#define CASES (sizeof cases / sizeof *cases)

static int run(const char *name, const char *library, const char *heap)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		if (library != NULL) {
			setenv("LD_PRELOAD", library, 1);
			setenv("ODFORK_HEAP", heap, 1);
		}
		setenv("ODF_TEST_RUN", name, 1);
		unsetenv("MALLOC_PERTURB_"); /* what malloc has written to can have no large pages any more */
		execl("/proc/self/exe", "test_moved", (char *)NULL);
		_exit(126);
	}
	return status_of(pid);
}

int main(int argc, char **argv)
{
	static const char *const ways[] = { "plain", "auto", "on" };
	const char *name = getenv("ODF_TEST_RUN"), *build = getenv("ODF_BUILD"), *needed = getenv("ODF_MUST_WORK");
	static char library[4096];
	int failed = 0, number = 0;

	for (size_t i = 0; name != NULL && i < CASES; i++)
		if (strcmp(name, cases[i].name) == 0) {
			alarm(100);
			cases[i].run();
			fflush(stdout);
			_exit(0);
		}
	must(build != NULL);
	snprintf(library, sizeof library, "%s/libodfork.so.0", build);
	must(access(library, R_OK) == 0);
	if (argc == 1)
		printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int status = 0;
		if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
			continue;
		for (size_t way = 0; way < 3 && status == 0; way++) {
			status = run(cases[i].name, way == 0 ? NULL : library, ways[way]);
			if (status != 0 && status != 77 << 8)
				printf("# %s, %s: status %#x\n", cases[i].name, ways[way], status);
		}
		/* What this machine cannot do without the library it need not do with it. */
		if (status == 77 << 8 && needed != NULL && strcmp(needed, "1") == 0)
			status = 1;
		failed += status != 0 && status != 77 << 8;
		printf("%s %d - %s%s\n", status == 0 || status == 77 << 8 ? "ok" : "not ok", ++number, cases[i].name, status == 77 << 8 ? " # SKIP not here" : "");
	}
	return failed > 0;
}
