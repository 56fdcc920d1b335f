/* SPDX-License-Identifier: MIT
 *
 * malloc PROFILE THREADS: allocates and frees, in turns of N thousand pairs for each thread.
 *
 *   small     16 to 256 bytes, 3 MiB in all: a process that stays small
 *   mixed     16 bytes to 1 MiB, most of them small, 256 MiB in all; with several threads, one block in eight is freed
 *             by another thread than made it
 *
 * Each block has its number at both ends, which is checked when the block is freed.
 */
#include <stdatomic.h>
#include <pthread.h>
#include <string.h>

#include "clock.h"
#include "turns.h"

enum { SHARED = 256 };

struct block {
	size_t size;
};

struct worker {
	pthread_t thread;
	struct block **slots;
	uint64_t random;
	unsigned long pairs;
};

static bool mixed;
static size_t threads, slots_each;
static struct block *_Atomic shared[SHARED];

static size_t any_size(uint64_t *random)
{
	uint64_t number = random_number(random);
	size_t kind = number % 1000, least, most;

	number >>= 20;
	if (!mixed || kind < 700)
		least = 16, most = 256;
	else if (kind < 950)
		least = 256, most = 4096;
	else if (kind < 999)
		least = 4096, most = 65536;
	else
		least = 65536, most = 1 << 20;
	return least + number % (most - least);
}

static struct block *make(uint64_t *random)
{
	size_t size = any_size(random);
	struct block *block = malloc(size);

	if (block == NULL) {
		perror("malloc");
		exit(1);
	}
	block->size = size;
	/* Programs write the memory that they allocate: each page once, and the last byte. */
	for (size_t at = 4096; at < size; at += 4096)
		((char *)block)[at] = (char)at;
	if (size > sizeof *block)
		((char *)block)[size - 1] = (char)(size * 7);
	return block;
}

static void end(struct block *block)
{
	if (block == NULL)
		return;
	if (block->size > sizeof *block && ((char *)block)[block->size - 1] != (char)(block->size * 7)) {
		fprintf(stderr, "malloc: a block of %zu bytes was changed\n", block->size);
		abort();
	}
	free(block);
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	for (unsigned long pair = 0; pair < worker->pairs; pair++) {
		size_t slot = random_number(&worker->random) % slots_each;
		struct block *old = worker->slots[slot];
		if (threads > 1 && pair % 8 == 0)
			old = atomic_exchange(&shared[slot % SHARED], old);
		end(old);
		worker->slots[slot] = make(&worker->random);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct worker *workers;
	unsigned long thousands;

	threads = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	mixed = argc == 3 && strcmp(argv[1], "mixed") == 0;
	if (threads == 0 || (!mixed && strcmp(argv[1], "small") != 0)) {
		fprintf(stderr, "usage: malloc small|mixed THREADS\n");
		return 2;
	}
	/* The mean sizes are 136 and 2900 bytes. */
	slots_each = (mixed ? (256u << 20) / 2900 : (3u << 20) / 136) / threads;
	workers = calloc(threads, sizeof *workers);
	if (workers == NULL)
		return 1;
	for (size_t i = 0; i < threads; i++) {
		workers[i].random = i + 1;
		workers[i].slots = calloc(slots_each, sizeof *workers[i].slots);
		if (workers[i].slots == NULL)
			return 1;
	}
	while (next_turn(&thousands)) {
		double start = now_us();
		for (size_t i = 0; i < threads; i++) {
			workers[i].pairs = thousands * 1000;
			if (threads == 1)
				work(&workers[i]);
			else if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
				return 1;
		}
		for (size_t i = 0; i < threads && threads > 1; i++)
			pthread_join(workers[i].thread, NULL);
		printf("rate %.0f\n", (double)(thousands * 1000 * threads) / (now_us() - start) * 1e6);
	}
	return 0;
}
