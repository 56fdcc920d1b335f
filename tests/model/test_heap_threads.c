/* SPDX-License-Identifier: MIT
 *
 * Threads map, unmap, move, protect, discard and allocate memory of their own, and check every byte of it. Meanwhile
 * the main thread forks children that check that all of it is as it was at the fork, the library settles in the
 * background, and signal handlers map memory. Under the preloaded library, with the heap awake.
 *
 *   ODF_TEST_SECONDS    how long (6)
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "odfork.h"

#define THREADS 4
#define BLOCKS  24
#define PAGE    ((size_t)4096)
#define FORKS_LEAST 12

/* Every byte of a block follows from the block's number, the generation of its last fill, and whether the page was
 * discarded since. */
struct block {
	unsigned char *memory;
	size_t size;
	unsigned generation;
	bool mapped;          /* otherwise from malloc */
	bool readable_only;
	size_t zeros_from, zeros_to; /* discarded pages, in bytes */
};

static struct worker {
	pthread_t thread;
	pthread_mutex_t lock; /* held for each change, and for a fork */
	struct block blocks[BLOCKS];
	unsigned random, number;
	unsigned long steps;
} workers[THREADS];
static atomic_bool over;
static atomic_ulong wrong, handled;

static unsigned next(struct worker *worker)
{
	worker->random = worker->random * 1664525u + 1013904223u;
	return worker->random >> 8;
}

static unsigned char byte_of(const struct block *block, size_t at)
{
	if (at >= block->zeros_from && at < block->zeros_to)
		return 0;
	return (unsigned char)(block->generation * 31 + at / 64 + 1);
}

/* Checks one byte in 64, and both ends. */
static bool holds(const struct block *block)
{
	if (block->memory == NULL)
		return true;
	for (size_t at = 0; at < block->size; at += 64)
		if (block->memory[at] != byte_of(block, at))
			return false;
	return block->memory[block->size - 1] == byte_of(block, block->size - 1);
}

static void fill(struct block *block, unsigned generation)
{
	block->generation = generation;
	block->zeros_from = block->zeros_to = 0;
	for (size_t at = 0; at < block->size; at++)
		block->memory[at] = byte_of(block, at);
}

static void drop(struct block *block)
{
	if (block->mapped && munmap(block->memory, block->size) != 0)
		wrong++;
	if (!block->mapped)
		free(block->memory);
	block->memory = NULL;
	block->readable_only = false;
}

static void make(struct worker *worker, struct block *block)
{
	block->mapped = next(worker) % 2 == 0;
	block->size = block->mapped ? (16 + next(worker) % 128) * PAGE : 1 + next(worker) % 300000;
	if (block->mapped) {
		block->memory = mmap(NULL, block->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block->memory == MAP_FAILED)
			block->memory = NULL;
	} else {
		block->memory = malloc(block->size);
	}
	if (block->memory == NULL) {
		wrong++;
		return;
	}
	fill(block, next(worker));
}

static void resize(struct worker *worker, struct block *block)
{
	size_t old = block->size, size = block->mapped ? (1 + next(worker) % 200) * PAGE : 1 + next(worker) % 400000;
	void *memory = block->mapped ? mremap(block->memory, old, size, MREMAP_MAYMOVE) : realloc(block->memory, size);

	if (memory == NULL || memory == MAP_FAILED) {
		wrong++;
		return;
	}
	block->memory = memory;
	block->size = size < old ? size : old;
	if (!holds(block))
		wrong++;
	block->size = size;
	if (block->mapped)
		for (size_t at = old; at < size; at += 512)
			if (block->memory[at] != 0)
				wrong++;
	fill(block, next(worker));
}

static void discard(struct worker *worker, struct block *block)
{
	size_t pages = block->size / PAGE, from = next(worker) % pages, count = 1 + next(worker) % (pages - from);

	fill(block, block->generation); /* a block has only one discarded range */
	if (madvise(block->memory + from * PAGE, count * PAGE, MADV_DONTNEED) != 0)
		wrong++;
	block->zeros_from = from * PAGE;
	block->zeros_to = (from + count) * PAGE;
}

/* From one end, so that the rest is one block. */
static void shorten(struct worker *worker, struct block *block)
{
	size_t pages = block->size / PAGE, count = pages / 4;

	(void)worker;
	if (count == 0)
		return;
	if (munmap(block->memory + (pages - count) * PAGE, count * PAGE) != 0)
		wrong++;
	block->size -= count * PAGE;
	if (block->zeros_to > block->size)
		block->zeros_to = block->size;
}

static void step(struct worker *worker)
{
	struct block *block = &worker->blocks[next(worker) % BLOCKS];

	if (!holds(block))
		wrong++;
	if (block->memory == NULL) {
		make(worker, block);
		return;
	}
	if (block->readable_only) {
		if (mprotect(block->memory, block->size, PROT_READ | PROT_WRITE) != 0)
			wrong++;
		block->readable_only = false;
		return;
	}
	switch (next(worker) % 8) {
	case 0:
	case 1:
		fill(block, next(worker));
		break;
	case 2:
		resize(worker, block);
		break;
	case 3:
		if (block->mapped)
			discard(worker, block);
		break;
	case 4:
		if (block->mapped)
			shorten(worker, block);
		break;
	case 5:
		if (block->mapped && next(worker) % 4 == 0) {
			if (mprotect(block->memory, block->size, PROT_READ) != 0)
				wrong++;
			block->readable_only = true;
		}
		break;
	default:
		drop(block);
	}
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	while (!over) {
		pthread_mutex_lock(&worker->lock);
		step(worker);
		pthread_mutex_unlock(&worker->lock);
		worker->steps++;
	}
	return NULL;
}

/* Interrupts the workers' calls anywhere, also while they work on the region. */
static void handle(int number)
{
	int saved = errno;
	char *memory = mmap(NULL, 20 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)number;
	if (memory != MAP_FAILED) {
		memory[5 * PAGE] = 1;
		if (memory[6 * PAGE] != 0 || madvise(memory, 10 * PAGE, MADV_DONTNEED) != 0 || memory[5 * PAGE] != 0 ||
		    munmap(memory, 20 * PAGE) != 0)
			wrong++;
		handled++;
	}
	errno = saved;
}

static bool all_hold(void)
{
	for (int i = 0; i < THREADS; i++)
		for (int j = 0; j < BLOCKS; j++)
			if (!holds(&workers[i].blocks[j]))
				return false;
	return true;
}

/* The child may also change its memory. */
static int check(bool changes)
{
	if (!all_hold())
		return 1;
	for (int i = 0; changes && i < THREADS; i++) {
		struct block *block = &workers[i].blocks[i];
		if (block->memory != NULL && !block->readable_only) {
			fill(block, 77);
			if (!holds(block))
				return 2;
			drop(block);
			make(&workers[i], block);
		}
	}
	usleep(changes ? 3000 : 0);
	return all_hold() && wrong == 0 ? 0 : 3;
}

static void test_threads(void **unused)
{
	const char *text = getenv("ODF_TEST_SECONDS");
	time_t end = time(NULL) + (text != NULL ? atoi(text) : 6);
	struct sigaction action = { .sa_handler = handle, .sa_flags = SA_RESTART };
	struct itimerval interval = { { 0, 1500 }, { 0, 1500 } };
	unsigned long forks = 0, steps = 0;

	(void)unused;
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		workers[i].random = (unsigned)(i * 7919 + 1);
		workers[i].number = (unsigned)i;
		assert_int_equal(pthread_mutex_init(&workers[i].lock, NULL), 0);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	assert_int_equal(setitimer(ITIMER_REAL, &interval, NULL), 0);
	/* A minimum number of forks, even on a slow machine. */
	while ((time(NULL) < end || forks < FORKS_LEAST) && wrong == 0) {
		int status;
		pid_t child;
		for (int i = 0; i < THREADS; i++)
			pthread_mutex_lock(&workers[i].lock);
		child = fork();
		if (child == 0) {
			over = true;
			_exit(check(forks % 3 == 0));
		}
		for (int i = 0; i < THREADS; i++)
			pthread_mutex_unlock(&workers[i].lock);
		assert_true(child > 0);
		while (waitpid(child, &status, 0) < 0)
			assert_int_equal(errno, EINTR);
		assert_int_equal(status, 0);
		forks++;
		usleep(forks % 5 == 0 ? 30000 : 500);
	}
	memset(&interval, 0, sizeof interval);
	(void)setitimer(ITIMER_REAL, &interval, NULL);
	over = true;
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		steps += workers[i].steps;
	}
	assert_true(all_hold());
	assert_int_equal(wrong, 0);
	assert_true(steps > 0 && handled > 0);
	printf("# %lu forks beside %lu steps of %d threads and %lu handlers\n", forks, steps, THREADS,
	       (unsigned long)handled);
}

static bool is_in_a_region(const void *memory)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;

	while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && (uintptr_t)memory >= from && (uintptr_t)memory < to)
			found = strstr(line, "odfork-region") != NULL;
	}
	if (maps != NULL)
		fclose(maps);
	return found;
}

/* Otherwise only the kernel would be tested. */
static void test_is_awake(void **unused)
{
	void *mapped = mmap(NULL, 1024 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	assert_true(mapped != MAP_FAILED);
	assert_true(is_in_a_region(mapped));
	assert_int_equal(munmap(mapped, 1024 * PAGE), 0);
}

/* Asks the library that is preloaded. */
static bool regions_are_there(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	int (*get)(odf_capabilities *);

	*(void **)&get = dlsym(RTLD_DEFAULT, "odf_capabilities_get");
	if (get == NULL || get(&capabilities) != 0 || capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NONE)
		return true; /* test_is_awake reports what is wrong */
	printf("1..0 # SKIP no regions here\n");
	return false;
}

int main(int count, char **arguments)
{
	const char *build = getenv("ODF_BUILD");
	char library[4096];
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_is_awake), cmocka_unit_test(test_threads) };

	(void)count;
	if (getenv("ODF_TEST_AGAIN") == NULL && build != NULL) {
		snprintf(library, sizeof library, "%s/libodfork.so.0", build);
		setenv("LD_PRELOAD", library, 1);
		setenv("ODFORK_HEAP", "on", 1);
		setenv("ODF_TEST_AGAIN", "1", 1);
		execv("/proc/self/exe", arguments);
		perror("exec");
		return 1;
	}
	return regions_are_there() ? cmocka_run_group_tests_name("heap, threads", tests, NULL, NULL) : 0;
}
