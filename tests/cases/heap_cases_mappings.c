/* SPDX-License-Identifier: MIT
 *
 * Cases of test_heap: the mapping calls compared with the kernel's own.
 */
#include "heap_cases.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* ---- Mapping calls that print their results, which must be the same with and without the library ----------------- */

#define PAGES(count) ((size_t)(count) * PAGE)

#define TELL_CALL(call)												\
	do {													\
		long result_;											\
		errno = 0;											\
		result_ = (long)(call);										\
		dprintf(1, "line %d: %s, errno %d\n", __LINE__, result_ == -1 ? "fails" : "succeeds", errno);	\
	} while (0)

/* One letter per page: locked, not locked, or not mapped. msync with MS_INVALIDATE fails for a locked page. */
static void tell_locks(const unsigned char *memory, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int result = msync((void *)(uintptr_t)(memory + PAGES(i)), PAGE, MS_ASYNC | MS_INVALIDATE);
		dprintf(1, "%s", result == 0 ? "-" : errno == EBUSY ? "L" : errno == ENOMEM ? "." : "?");
	}
	dprintf(1, "\n");
}

/* In the region, if there is one; the pages behind it are unmapped. */
static unsigned char *map_before_hole(size_t count)
{
	const char *heap = getenv("ODFORK_HEAP");
	bool on = heap != NULL && strcmp(heap, "on") == 0;
	size_t placed = on ? info().placed_bytes : 0;
	unsigned char *memory = map(PAGES(4 * count));

	must(!on || info().placed_bytes == placed + PAGES(4 * count));
	must(munmap(memory + PAGES(count), PAGES(3 * count)) == 0);
	return memory;
}

/* The part by which a mapping grows is locked and advised like the rest, so that it stays one mapping. */
static void tell_growth(void)
{
	static const int advices[] = { MADV_NORMAL, MADV_DONTFORK, MADV_DONTDUMP, MADV_MERGEABLE, MADV_WIPEONFORK };
	unsigned char *memory;
	pid_t pid;

	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
		memory = map_before_hole(100) + PAGES(96);
		fill(memory, PAGES(4), 3);
		dprintf(1, "advice %d\n", advices[i]);
		TELL_CALL(madvise(memory, PAGES(4), advices[i]));
		/* Memory with MADV_WIPEONFORK has left the region, and cannot always grow in place. */
		memory = mremap(memory, PAGES(4), PAGES(9), advices[i] == MADV_WIPEONFORK ? MREMAP_MAYMOVE : 0);
		must(memory != MAP_FAILED);
		must(holds(memory, PAGES(4), PAGES(4), 3) && memory[PAGES(8)] == 0);
		pid = fork();
		if (pid == 0) {
			tell_locks(memory, 9);
			if (msync(memory, PAGES(9), MS_ASYNC) == 0)
				dprintf(1, "%d %d\n", memory[PAGES(4) - 1], memory[PAGES(9) - 1]);
			_exit(0);
		}
		must(status_of(pid) == 0);
		memory = mremap(memory, PAGES(9), PAGES(1000), MREMAP_MAYMOVE);
		must(memory != MAP_FAILED && holds(memory, PAGES(4), PAGES(4), 3) && memory[PAGES(999)] == 0);
		pid = fork();
		if (pid == 0) {
			dprintf(1, "%d\n", msync(memory + PAGES(900), PAGES(100), MS_ASYNC));
			_exit(0);
		}
		must(status_of(pid) == 0);
		TELL_CALL(munmap(memory, PAGES(1000)));
	}
	memory = map_before_hole(100);
	fill(memory + PAGES(99), PAGE, 4);
	TELL_CALL(mlock(memory + PAGES(99), PAGE));
	TELL_CALL(mremap(memory + PAGES(99), PAGE, PAGES(3), 0));
	tell_locks(memory + PAGES(97), 6);
	TELL_CALL(mremap(memory + PAGES(99), PAGES(3), PAGES(5), MREMAP_MAYMOVE));
	tell_locks(memory + PAGES(97), 8);
	TELL_CALL(madvise(memory + PAGES(99), PAGES(5), MADV_DONTNEED));
	must(holds(memory + PAGES(99), PAGE, PAGE, 4));
	TELL_CALL(munlock(memory + PAGES(99), PAGES(5)));
	tell_locks(memory + PAGES(97), 8);
	TELL_CALL(mmap(memory + PAGES(103), PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		       0));
	TELL_CALL(mremap(memory + PAGES(99), PAGES(4), PAGES(5), 0)); /* something is mapped there */
}

/* Memory that moves stays locked and advised, and so does the part by which it grows. */
static void tell_moves(void)
{
	static const int advices[] = { MADV_NORMAL, MADV_DONTFORK, MADV_DONTDUMP, MADV_MERGEABLE, MADV_WIPEONFORK };
	unsigned char *memory = map_before_hole(1000), *place = map_before_hole(1000), *moved;
	pid_t pid;

	for (size_t i = 0; i < 2 * sizeof advices / sizeof *advices; i++) {
		unsigned char *from = memory + PAGES(20 + 80 * i), *to = place + PAGES(20 + 80 * i);
		bool fixed = i % 2 != 0;
		fill(from, PAGES(20), 3);
		dprintf(1, "advice %d%s\n", advices[i / 2], fixed ? ", to a place" : "");
		TELL_CALL(madvise(from, PAGES(20), advices[i / 2]));
		moved = fixed ? mremap(from, PAGES(20), PAGES(40), MREMAP_MAYMOVE | MREMAP_FIXED, to)
			      : mremap(from, PAGES(20), PAGES(40), MREMAP_MAYMOVE);
		must(moved != MAP_FAILED && moved != from && holds(moved, PAGES(20), PAGES(20), 3) &&
		     moved[PAGES(40) - 1] == 0);
		pid = fork();
		if (pid == 0) {
			tell_locks(moved, 40);
			if (msync(moved, PAGES(40), MS_ASYNC) == 0)
				dprintf(1, "%d %d\n", moved[PAGES(20) - 1], moved[PAGES(40) - 1]);
			_exit(0);
		}
		must(status_of(pid) == 0);
		tell_locks(from - PAGES(1), 22);
		if (!fixed)
			TELL_CALL(munmap(moved, PAGES(40)));
	}
	TELL_CALL(mlock(memory + PAGES(5), PAGES(3)));
	TELL_CALL(mprotect(memory + PAGES(6), PAGES(2), PROT_READ));
	moved = mremap(memory + PAGES(6), PAGES(2), PAGES(2), MREMAP_MAYMOVE | MREMAP_FIXED, place + PAGES(3));
	must(moved == place + PAGES(3));
	tell_locks(place + PAGES(2), 4);
	tell_locks(memory + PAGES(4), 5);
	TELL_CALL(madvise(moved, PAGES(2), MADV_DONTNEED));
	TELL_CALL(munlock(place, PAGES(10)));
	/* A range with different properties is more than one mapping, and does not grow. */
	TELL_CALL(mprotect(memory + PAGES(900), PAGES(5), PROT_READ));
	TELL_CALL(madvise(memory + PAGES(920), PAGES(5), MADV_DONTDUMP));
	TELL_CALL(mremap(memory + PAGES(898), PAGES(5), PAGES(20), MREMAP_MAYMOVE));
	TELL_CALL(mremap(memory + PAGES(902), PAGES(5), PAGES(20), MREMAP_MAYMOVE));
	TELL_CALL(mremap(memory + PAGES(918), PAGES(5), PAGES(20), MREMAP_MAYMOVE));
	TELL_CALL(mremap(memory + PAGES(922), PAGES(5), PAGES(20), MREMAP_MAYMOVE));
	TELL_CALL(mremap(memory + PAGES(918), PAGES(10), PAGES(10), 0));
	TELL_CALL(mremap(memory + PAGES(898), PAGES(10), PAGES(5), 0));
	tell_locks(memory + PAGES(890), 40);
	TELL_CALL(munmap(memory, PAGES(1000)));
	TELL_CALL(munmap(place, PAGES(1000)));
}

/* The whole range is marked as locked before the first page is brought in. For the part before a hole no page is
 * brought in. */
static void tell_locking(void)
{
	unsigned char *memory = map_before_hole(100);
	pid_t pid;

	TELL_CALL(mprotect(memory + PAGES(20), PAGES(6), PROT_NONE));
	TELL_CALL(mlock(memory + PAGES(18), PAGES(15)));
	tell_locks(memory + PAGES(16), 20);
	TELL_CALL(madvise(memory + PAGES(27), PAGES(3), MADV_DONTNEED));
	TELL_CALL(munlock(memory + PAGES(10), PAGES(30)));
	tell_locks(memory + PAGES(16), 20);
	TELL_CALL(munmap(memory + PAGES(50), PAGES(5)));
	TELL_CALL(mlock(memory + PAGES(45), PAGES(20)));
	tell_locks(memory + PAGES(43), 24);
	TELL_CALL(madvise(memory + PAGES(46), PAGES(2), MADV_DONTNEED));
	TELL_CALL(mlock2(memory + PAGES(60), PAGES(3), MLOCK_ONFAULT));
	tell_locks(memory + PAGES(43), 24);
	pid = fork();
	if (pid == 0) { /* a child has no locks */
		tell_locks(memory + PAGES(43), 24);
		TELL_CALL(madvise(memory + PAGES(60), PAGES(3), MADV_DONTNEED));
		tell_locks(memory + PAGES(43), 24);
		/* Locks do not come back at the place that memory moves to. */
		must(mremap(memory + PAGES(45), PAGES(3), PAGES(3), MREMAP_MAYMOVE | MREMAP_FIXED, memory + PAGES(1)) ==
		     memory + PAGES(1));
		must(mremap(memory + PAGES(60), PAGES(3), PAGES(3), MREMAP_MAYMOVE | MREMAP_FIXED, memory + PAGES(5)) ==
		     memory + PAGES(5));
		tell_locks(memory, 10);
		_exit(0);
	}
	must(status_of(pid) == 0);
	TELL_CALL(mlock(memory + PAGES(97) + 5, PAGE + 9)); /* two pages */
	tell_locks(memory + PAGES(95), 10);
	TELL_CALL(mlock(memory, 0));
	TELL_CALL(mlock2(memory, PAGES(200), 0x80));
	TELL_CALL(mlock2(memory + PAGES(51), PAGE, 0x80));
	TELL_CALL(mlock(memory, SIZE_MAX - PAGES(200)));
	tell_locks(memory, 10);
	TELL_CALL(munlock(memory, PAGES(100)));
	tell_locks(memory + PAGES(40), 60);
}

/* Arguments are checked before memory is. */
static void tell_refusals(void)
{
	unsigned char *memory = map_before_hole(100), *hole = memory + PAGES(110), residence[20];

	TELL_CALL(mincore(hole, PAGE, residence));
	TELL_CALL(mincore(memory + PAGES(95), PAGES(10), residence));
	TELL_CALL(mincore(memory + PAGES(90), PAGES(10), residence));
	TELL_CALL(mincore(hole + 1, PAGE, residence));
	TELL_CALL(mincore(memory, PAGES(10), NULL));
	TELL_CALL(mprotect(hole, PAGE, 1 << 28));
	TELL_CALL(mprotect(hole, PAGE, PROT_READ));
	TELL_CALL(mprotect(hole + 1, PAGE, PROT_READ));
	TELL_CALL(syscall(SYS_pkey_mprotect, hole, PAGE, PROT_READ, 14));
	TELL_CALL(syscall(SYS_pkey_mprotect, hole, PAGE, PROT_READ, -1));
	TELL_CALL(madvise(hole, PAGE, 99));
	TELL_CALL(madvise(hole, PAGE, MADV_DONTNEED));
	TELL_CALL(msync(hole, PAGE, MS_ASYNC | MS_SYNC));
	TELL_CALL(msync(hole, PAGE, MS_ASYNC));
	TELL_CALL(mlock2(hole, PAGE, 0x80));
	TELL_CALL(mlock2(hole, PAGE, MLOCK_ONFAULT));
	TELL_CALL(mremap(hole, PAGE, PAGE, 0));
	TELL_CALL(mremap(hole, PAGE, 0, 0));
	TELL_CALL(mremap(hole, PAGE, PAGES(2), MREMAP_MAYMOVE));
	TELL_CALL(mremap(hole + 1, PAGE, PAGES(2), MREMAP_MAYMOVE));
	TELL_CALL(mremap(hole, 0, PAGE, MREMAP_MAYMOVE));
	TELL_CALL(munmap(memory, SIZE_MAX / 2));
	TELL_CALL(munmap(hole, PAGE));
}

/* A range that begins at a hole, in processes that have inherited it. */
static void tell_holes_of_children(void)
{
	unsigned char *memory = map_before_hole(400);
	pid_t pid, other;

	fill(memory, PAGES(400), 9);
	pid = fork();
	if (pid == 0) {
		TELL_CALL(munmap(memory, PAGES(40)));
		TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(287), 0));
		other = fork();
		if (other == 0) {
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(287), 0));
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(200), MREMAP_MAYMOVE));
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(300), MREMAP_MAYMOVE));
			TELL_CALL(mmap(memory + PAGES(30), PAGES(10), PROT_READ,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(287), 0));
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(200), 0));
			tell_locks(memory + PAGES(30), 300);
			_exit(0);
		}
		must(status_of(other) == 0);
		TELL_CALL(madvise(memory + PAGES(36), PAGES(20), MADV_DONTNEED));
		must(memory[PAGES(41)] == 0);
		_exit(0);
	}
	must(status_of(pid) == 0 && holds(memory, PAGES(400), PAGES(400), 9));
}

/* Old contents must not be seen again, whatever was requested in between. */
static void tell_zeros(void)
{
	for (int way = 0; way < 6; way++) {
		unsigned char *memory = map_before_hole(100), *island = memory + PAGES(20);
		size_t seen = 0;
		pid_t pid;
		fill(memory, PAGES(100), 7);
		island[PAGES(18)] = 77;
		if (way == 1)
			TELL_CALL(mprotect(island, PAGES(30), PROT_READ));
		else if (way == 2)
			TELL_CALL(mprotect(island, PAGES(30), PROT_NONE));
		else if (way == 3)
			TELL_CALL(madvise(island, PAGES(30), MADV_DONTDUMP));
		else if (way == 4)
			TELL_CALL(madvise(island, PAGES(30), MADV_DONTFORK));
		else if (way == 5)
			TELL_CALL(mlock(island, PAGES(3)) != 0 || munlock(island, PAGES(3)) != 0);
		TELL_CALL(madvise(island + PAGES(5), PAGES(10), MADV_DONTNEED));
		if (way == 1 || way == 2) { /* with its old rights */
			int pipes[2];
			must(pipe(pipes) == 0);
			TELL_CALL(read(pipes[0], island + PAGES(6), write(pipes[1], "x", 1)));
			TELL_CALL(write(pipes[1], island + PAGES(6), 1));
			TELL_CALL(madvise(island + PAGES(16), PAGES(4), MADV_WIPEONFORK));
			TELL_CALL(read(pipes[0], island + PAGES(17), write(pipes[1], "x", 1)));
			TELL_CALL(write(pipes[1], island + PAGES(17), 1));
			close(pipes[0]);
			close(pipes[1]);
			TELL_CALL(mprotect(island, PAGES(30), PROT_READ | PROT_WRITE));
			must(island[PAGES(18)] == 77);
		}
		pid = fork();
		if (pid == 0) {
			tell_locks(island, 30);
			_exit(0);
		}
		must(status_of(pid) == 0);
		for (size_t i = 0; i < PAGES(10); i++)
			seen += island[PAGES(5) + i] != 0;
		dprintf(1, "way %d: %zu bytes are not zero\n", way, seen);
		must(holds(memory, PAGES(25), PAGES(100), 7) && memory[PAGES(100) - 1] == 7);
		TELL_CALL(mmap(island + PAGES(2), PAGES(20), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		TELL_CALL(mmap(island + PAGES(2), PAGES(20), PROT_READ,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
		for (size_t i = 0; i < PAGES(20); i++)
			seen += island[PAGES(2) + i] != 0;
		dprintf(1, "way %d: %zu bytes are not zero\n", way, seen);
		TELL_CALL(munmap(island, PAGES(40)));
		island = mmap(island, PAGES(40), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			      0);
		for (size_t i = 0; i < PAGES(40); i++)
			seen += island[i] != 0;
		dprintf(1, "way %d: %zu bytes are not zero\n", way, seen);
		TELL_CALL(munmap(memory, PAGES(100)));
	}
}

void tell_mappings(void)
{
	tell_zeros();
	tell_growth();
	tell_moves();
	tell_locking();
	tell_refusals();
	tell_holes_of_children();
}
