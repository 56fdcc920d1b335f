/* SPDX-License-Identifier: MIT
 *
 * shape SHAPE MIB FORKS PAUSE_MS: maps MIB of memory in one of the ways in which allocators and runtimes do it, and
 * forks. The parent writes some of the pages between two forks. Each child checks every page, and the parent does so at
 * the end. Prints "held N M" for each fork: N microseconds by the clock, and M of processor time, which depends less on
 * other programs. Then it prints "right N", the number of pages checked. It ends with an error if a page is wrong.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#ifdef ODF_SHAPE_LATE
#include <odfork.h>
#endif

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

#define PAGE  ((size_t)4096)
#define KIB   ((size_t)1 << 10)
#define MIB   ((size_t)1 << 20)
#define RW    (PROT_READ | PROT_WRITE)
#define RWX   (RW | PROT_EXEC)
#define PLAIN (MAP_PRIVATE | MAP_ANONYMOUS)
#define STEP  64 /* one page in STEP is written between two forks */

static size_t total;

/* The memory: pieces of whole pages. The first word of each page has a value that depends on the piece and the page. */
static char **pieces;
static size_t piece_count, piece_size;

static void fail(const char *what)
{
	fprintf(stderr, "shape: %s: %s\n", what, strerror(errno));
	exit(1);
}

static char *map_at(void *address, size_t size, int protection, int flags)
{
	void *memory = mmap(address, size, protection, PLAIN | flags, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	return memory;
}

static void drop(char *from, char *to)
{
	if (to > from && munmap(from, (size_t)(to - from)) != 0)
		fail("munmap");
}

static void put(size_t number, char *memory)
{
	pieces[number] = memory;
	for (size_t at = 0; at < piece_size; at += PAGE)
		*(uint64_t *)(void *)(memory + at) = number * 31 + at + 1;
}

static void *table_of(size_t count)
{
	return map_at(NULL, (count * sizeof(void *) + PAGE - 1) / PAGE * PAGE, RW, 0);
}

static void of_size(size_t size)
{
	piece_size = size;
	piece_count = total / size;
	/* The table is not part of the measured memory. */
	pieces = table_of(piece_count);
}

/* ---- The shapes ---- */

/* As Ruby maps its heap pages: it maps twice the size and unmaps the parts around an aligned piece. It keeps the upper
 * of two aligned pieces, so that successive pieces are adjacent. */
static void fill_trimmed(size_t size)
{
	of_size(size);
	for (size_t i = 0; i < piece_count; i++) {
		char *whole = map_at(NULL, 2 * size, RW, 0),
		     *aligned = (char *)(((uintptr_t)whole + size) / size * size);
		drop(whole, aligned);
		drop(aligned + size, whole + 2 * size);
		put(i, aligned);
	}
}

static void trimmed(void)
{
	fill_trimmed(64 * KIB);
}

static void trimmed_16(void)
{
	fill_trimmed(16 * KIB);
}

/* As LuaJIT and Guile's collector do. */
static void hinted(void)
{
	char *last = NULL;

	of_size(MIB);
	for (size_t i = 0; i < piece_count; i++)
		put(i, last = map_at(last, MIB, RW, 0));
}

/* As Racket does. */
static void low(void)
{
	of_size(MIB);
	for (size_t i = 0; i < piece_count; i++)
		put(i, map_at(NULL, MIB, RW, MAP_32BIT));
}

/* As GHC, glibc's arenas, tcmalloc and OCaml 5 do. */
static void opened(void)
{
	char *reserved = map_at(NULL, (size_t)8 << 30, PROT_NONE, MAP_NORESERVE);

	of_size(MIB);
	for (size_t i = 0; i < piece_count; i++) {
		if (mprotect(reserved + i * MIB, MIB, RW) != 0)
			fail("mprotect");
		put(i, reserved + i * MIB);
	}
}

static void fixed(void)
{
	char *reserved = map_at(NULL, (size_t)8 << 30, PROT_NONE, MAP_NORESERVE);

	of_size(MIB);
	for (size_t i = 0; i < piece_count; i++)
		put(i, map_at(reserved + i * MIB, MIB, RW, MAP_FIXED));
}

static void fill_mapped(size_t size, int protection)
{
	of_size(size);
	for (size_t i = 0; i < piece_count; i++)
		put(i, map_at(NULL, size, protection, 0));
}

static void mapped_16(void)
{
	fill_mapped(16 * KIB, RW);
}

static void mapped_32(void)
{
	fill_mapped(32 * KIB, RW);
}

/* Each piece is separate: a free page or a PROT_NONE page lies between two pieces. */
static void fill_alone(size_t size, bool gap)
{
	of_size(size);
	for (size_t i = 0; i < piece_count; i++) {
		char *memory = map_at(NULL, size + PAGE, RW, 0);
		if (gap) /* a free page above it, too small for the next piece */
			drop(memory + size, memory + size + PAGE);
		else if (mprotect(memory + size, PAGE, PROT_NONE) != 0)
			fail("mprotect");
		put(i, memory);
	}
}

static void alone_16(void)
{
	fill_alone(16 * KIB, true);
}

static void alone_32(void)
{
	fill_alone(32 * KIB, true);
}

static void guarded_32(void)
{
	fill_alone(32 * KIB, false);
}

/* As SBCL does: one mapping, readable, writable and executable. */
static void one_rwx(void)
{
	char *memory = map_at((void *)((uintptr_t)64 << 30), (size_t)8 << 30, RWX, MAP_NORESERVE);

	of_size(MIB);
	for (size_t i = 0; i < piece_count; i++)
		put(i, memory + i * MIB);
}

static void rwx(void)
{
	fill_mapped(MIB, RWX);
}

/* The data segment, grown by sbrk. */
static void segment(void)
{
	of_size(MIB);
	for (size_t i = 0; i < piece_count; i++) {
		char *memory = sbrk((intptr_t)MIB);
		if (memory == (void *)-1)
			fail("sbrk");
		put(i, memory);
	}
}

/* ---- malloc: each block has its number ---- */

struct part {
	pthread_t thread;
	uint64_t **blocks;
	size_t count, size;
};
static struct part parts[4];
static unsigned part_count;

static void *fill_part(void *argument)
{
	struct part *part = argument;

	for (size_t i = 0; i < part->count; i++) {
		part->blocks[i] = malloc(part->size);
		if (part->blocks[i] == NULL)
			fail("malloc");
		for (size_t at = 0; at < part->size / 8; at += PAGE / 8)
			part->blocks[i][at] = i * 31 + at + 1;
	}
	return NULL;
}

static void fill_malloc(unsigned threads, size_t size, size_t each)
{
	part_count = threads;
	for (unsigned i = 0; i < threads; i++) {
		parts[i].size = size;
		parts[i].count = total / each / threads;
		parts[i].blocks = table_of(parts[i].count);
		if (threads == 1)
			fill_part(&parts[i]);
		else if (pthread_create(&parts[i].thread, NULL, fill_part, &parts[i]) != 0)
			fail("pthread_create");
	}
	for (unsigned i = 0; i < threads && threads > 1; i++)
		pthread_join(parts[i].thread, NULL);
}

static void malloc_1(void)
{
	fill_malloc(1, 72, 80);
}

static void malloc_4(void)
{
	fill_malloc(4, 72, 80);
}

static void malloc_blocks(void)
{
	fill_malloc(1, MIB, MIB);
}

/* One mapping, created before the library can know that the process grows. */
static void before(void)
{
	char *memory = map_at(NULL, (size_t)8 << 30, RW, MAP_NORESERVE);

	of_size(MIB);
	for (size_t i = 0; i < piece_count; i++)
		put(i, memory + i * MIB);
}

static const struct shape {
	const char *name;
	void (*fill)(void);
} shapes[] = {
	{ "trimmed", trimmed }, { "trimmed_16", trimmed_16 }, { "hinted", hinted },
	{ "low", low }, { "opened", opened }, { "fixed", fixed },
	{ "mapped_16", mapped_16 }, { "mapped_32", mapped_32 }, { "alone_16", alone_16 },
	{ "alone_32", alone_32 }, { "guarded_32", guarded_32 }, { "one_rwx", one_rwx },
	{ "rwx", rwx }, { "segment", segment }, { "malloc_1", malloc_1 },
	{ "malloc_4", malloc_4 }, { "malloc_blocks", malloc_blocks }, { "before", before },
};

/* ---- What is there is what was written ---- */

static uint64_t rounds; /* how many times the pages that are rewritten have been */

static uint64_t look(void)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < piece_count; i++)
		for (size_t at = 0; at < piece_size; at += PAGE, pages++)
			if (*(uint64_t *)(void *)(pieces[i] + at) != i * 31 + at + 1 + (pages % STEP == 0 ? rounds : 0))
				return 0;
	for (unsigned p = 0; p < part_count; p++)
		for (size_t i = 0; i < parts[p].count; i++, pages++)
			if (parts[p].blocks[i][0] != i * 31 + 1 + (pages % (STEP * 50) == 0 ? rounds : 0))
				return 0;
	return pages;
}

static void change(void)
{
	uint64_t pages = 0;

	rounds++;
	for (size_t i = 0; i < piece_count; i++)
		for (size_t at = 0; at < piece_size; at += PAGE, pages++)
			if (pages % STEP == 0)
				++*(uint64_t *)(void *)(pieces[i] + at);
	for (unsigned p = 0; p < part_count; p++)
		for (size_t i = 0; i < parts[p].count; i++, pages++)
			if (pages % (STEP * 50) == 0)
				++parts[p].blocks[i][0];
}

static double processor_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
	unsigned forks = argc == 5 ? (unsigned)atoi(argv[3]) : 0;
	long pause_us = argc == 5 ? atol(argv[4]) * 1000 : 0;
	const struct shape *shape = NULL;

	for (size_t i = 0; argc == 5 && i < sizeof shapes / sizeof *shapes; i++)
		if (strcmp(argv[1], shapes[i].name) == 0)
			shape = &shapes[i];
	if (shape == NULL || forks == 0) {
		fprintf(stderr, "usage: shape SHAPE MIB FORKS PAUSE_MS\n");
		return 2;
	}
	total = strtoul(argv[2], NULL, 10) * MIB;
	shape->fill();
#ifdef ODF_SHAPE_LATE
	if (getenv("ODFORK_HEAP") != NULL && odf_heap_enable(0) != 0)
		fail("odf_heap_enable");
#endif
	for (unsigned i = 0; i < forks; i++) {
		double start = now_us(), held, used = processor_us();
		int status;
		pid_t pid = fork();
		if (pid == 0)
			_exit(look() == 0);
		held = now_us() - start;
		used = processor_us() - used;
		if (pid < 0)
			fail("fork");
		if (waitpid(pid, &status, 0) != pid || status != 0) {
			fprintf(stderr, "shape: child %u of %s found other bytes\n", i, argv[1]);
			return 1;
		}
		printf("held %.1f %.1f\n", held, used);
		change();
		usleep((useconds_t)pause_us);
	}
	printf("right %llu\n", (unsigned long long)look());
	return look() == 0;
}
