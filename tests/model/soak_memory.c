/* SPDX-License-Identifier: MIT
 *
 * The memory of soak: blocks that threads change, blocks that situations leave, and children that compare all of them.
 */
#include "soak.h"

/* What a round does, in the order of the numbers that a failure prints. */
unsigned long seed;
const char *doing = "start";

unsigned random_below(unsigned *state, unsigned limit)
{
	*state = *state * 1664525u + 1013904223u;
	return (*state >> 8) % limit;
}

void fill(const struct block *block)
{
	if (!block->first_only) {
		memset(block->memory, block->value, block->size);
		return;
	}
	for (size_t at = 0; at < block->size; at += PAGE)
		block->memory[at] = block->value;
}

static bool is_whole(const struct block *block)
{
	size_t step = block->first_only ? PAGE : 61;

	for (size_t at = 0; at < block->size; at += step)
		if (block->memory[at] != block->value) {
			dprintf(2, "seed %lu, %s: byte %zu of a block of %zu at %p is %u and not %u\n", seed, doing, at,
				block->size, (void *)block->memory, block->memory[at], block->value);
			return false;
		}
	return true;
}

/* What the situations leave behind, for every child to compare. */
struct block specials[SPECIALS];
unsigned special_count;

struct block *keep(void *memory, size_t size, unsigned char value)
{
	struct block *block = &specials[special_count];

	REQUIRE(special_count < SPECIALS);
	*block = (struct block){ memory, size, value, false, false };
	fill(block);
	special_count++;
	return block;
}

struct worker workers[WORKERS];
atomic_bool over;

static void release(struct block *block)
{
	if (block->memory == NULL)
		return;
	if (block->by_malloc)
		free(block->memory);
	else
		REQUIRE(munmap(block->memory, block->size) == 0);
	block->memory = NULL;
}

static void change(struct worker *worker)
{
	struct block *block = &worker->blocks[random_below(&worker->random, BLOCKS)];
	unsigned what = random_below(&worker->random, 8);

	if (block->memory != NULL && !is_whole(block))
		_exit(1);
	if (block->memory != NULL && what < 2) {
		block->value = (unsigned char)(1 + random_below(&worker->random, 250));
		fill(block);
	} else if (block->memory != NULL && what == 2 && !block->by_malloc) {
		void *moved = mremap(block->memory, block->size, 2 * block->size, MREMAP_MAYMOVE);
		REQUIRE(moved != MAP_FAILED);
		block->memory = moved;
		memset(block->memory + block->size, block->value, block->size);
		block->size *= 2;
		if (block->size > 4 * MIB)
			release(block);
	} else if (block->memory != NULL && what == 3 && !block->by_malloc) {
		REQUIRE(madvise(block->memory, block->size, MADV_DONTNEED) == 0);
		for (size_t at = 0; at < block->size; at += 509)
			REQUIRE(block->memory[at] == 0);
		fill(block);
	} else {
		release(block);
		block->by_malloc = random_below(&worker->random, 2);
		block->size = (1 + random_below(&worker->random, block->by_malloc ? 300 : 100)) *
			      (block->by_malloc ? 977 : PAGE);
		block->memory = block->by_malloc ? malloc(block->size)
						 : mmap(NULL, block->size, PROT_READ | PROT_WRITE,
							MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		REQUIRE(block->memory != NULL && block->memory != MAP_FAILED);
		block->value = (unsigned char)(1 + random_below(&worker->random, 250));
		fill(block);
	}
}

void *work(void *argument)
{
	struct worker *worker = argument;

	while (!atomic_load(&over)) {
		pthread_mutex_lock(&worker->lock);
		change(worker);
		pthread_mutex_unlock(&worker->lock);
		sched_yield();
	}
	return NULL;
}

int compare_all(void)
{
	for (unsigned i = 0; i < special_count; i++)
		if (!is_whole(&specials[i]))
			return 1;
	for (unsigned i = 0; i < WORKERS; i++)
		for (unsigned k = 0; k < BLOCKS; k++)
			if (workers[i].blocks[k].memory != NULL && !is_whole(&workers[i].blocks[k]))
				return 1;
	return 0;
}

void lock_all(bool lock)
{
	for (unsigned i = 0; i < WORKERS; i++)
		(void)(lock ? pthread_mutex_lock(&workers[i].lock) : pthread_mutex_unlock(&workers[i].lock));
}

void fork_and_compare(unsigned *random)
{
	int status;
	pid_t child;

	lock_all(true);
	child = fork();
	if (child == 0) {
		if (random_below(random, 4) == 0) { /* a grandchild that outlives its parent */
			pid_t grandchild = fork();
			if (grandchild == 0)
				_exit(compare_all());
			if (grandchild > 0 && random_below(random, 2) == 0 &&
			    (waitpid(grandchild, &status, 0) != grandchild || status != 0))
				_exit(2);
		}
		_exit(compare_all());
	}
	lock_all(false);
	REQUIRE(child > 0);
	REQUIRE(waitpid(child, &status, 0) == child);
	if (status != 0) {
		dprintf(2, "seed %lu, %s: child ended with %#x\n", seed, doing, status);
		_exit(1);
	}
}
