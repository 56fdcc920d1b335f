/* SPDX-License-Identifier: MIT
 *
 * Cases of test_heap: forks before main, after exit, and while other threads allocate.
 */
#include "heap_cases.h"

static bool was_early;

/* Before main, in a program that has not started. */
__attribute__((constructor)) static void before_main(void)
{
	unsigned char *memory[40];
	pid_t pid;

	if (getenv("ODF_TEST_EARLY") == NULL)
		return;
	for (unsigned i = 0; i < 40; i++) {
		memory[i] = malloc((i + 1) * 200000);
		must(memory[i] != NULL);
		fill(memory[i], (i + 1) * 200000, i);
	}
	must(is_awake());
	pid = fork();
	if (pid == 0) {
		for (unsigned i = 0; i < 40; i++) {
			must(holds(memory[i], (i + 1) * 200000, (i + 1) * 200000, i));
			free(memory[i]);
		}
		_exit(0);
	}
	for (unsigned i = 0; i < 40; i += 2)
		memory[i] = realloc(memory[i], (i + 1) * 300000);
	for (unsigned i = 0; i < 40; i++)
		fill(memory[i], (i + 1) * 200000, i + 1);
	must(status_of(pid) == 0);
	for (unsigned i = 0; i < 40; i++) {
		must(holds(memory[i], (i + 1) * 200000, (i + 1) * 200000, i + 1));
		free(memory[i]);
	}
	was_early = true;
}

void constructor_forks(void)
{
	must(was_early && is_awake());
	resize(4);
}

static unsigned char *for_exit;

static void at_exit(void)
{
	unsigned char *more = malloc(3 * MIB);
	pid_t pid;

	fill(more, 3 * MIB, 9);
	pid = fork();
	if (pid == 0)
		_exit(holds(for_exit, 2 * MIB, 2 * MIB, 8) && holds(more, 3 * MIB, 3 * MIB, 9) ? 0 : 1);
	fill(for_exit, 2 * MIB, 7);
	must(status_of(pid) == 0 && holds(for_exit, 2 * MIB, 2 * MIB, 7));
	free(for_exit);
	free(more);
	resize(4);
	_exit(23);
}

void exit_handler_forks(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		wake_by_mapping();
			for_exit = malloc(2 * MIB);
		fill(for_exit, 2 * MIB, 8);
		must(atexit(at_exit) == 0);
		exit(0);
	}
	must(status_of(pid) == 23 << 8);
}

static atomic_bool stop;
static atomic_ulong requests;

static void *requests_beside(void *number)
{
	uint64_t random = (uintptr_t)number * 77777 + 5;
	unsigned char *memory[64] = { NULL };
	size_t sizes[64] = { 0 };

	while (!atomic_load(&stop)) {
		unsigned i;
		random = random * 6364136223846793005u + 1442695040888963407u;
		i = random >> 40 & 63;
		must(memory[i] == NULL || holds(memory[i], sizes[i], sizes[i], i));
		if (random >> 33 & 1) {
			free(memory[i]);
			memory[i] = NULL;
			sizes[i] = 0;
		}
		if (random >> 34 & 1) {
			size_t size = random >> 46 & 7 ? random >> 50 : (random >> 50) * 40,
			       common = size < sizes[i] ? size : sizes[i];
			unsigned char *fresh = realloc(memory[i], size + 1);
			must(fresh != NULL && holds(fresh, common, sizes[i], i));
			memory[i] = fresh;
			sizes[i] = size + 1;
			fill(fresh, size + 1, i);
		}
		if (atomic_fetch_add(&requests, 1) % 16 == 0)
			sched_yield(); /* there may be only one processor */
	}
	for (unsigned i = 0; i < 64; i++)
		free(memory[i]);
	return NULL;
}

static bool requests_in_child(void)
{
	must(holds(inherited, 5 * MIB, 5 * MIB, 3));
	resize(1);
	free(inherited);
	return true;
}

void forks_while_others_request(void)
{
	pthread_t threads[3];
	unsigned long before;

	inherited = malloc(5 * MIB);
	fill(inherited, 5 * MIB, 3);
	for (uintptr_t i = 0; i < 3; i++)
		must(pthread_create(&threads[i], NULL, requests_beside, (void *)i) == 0);
	for (int round = 0; round < 8; round++) {
		in_child(requests_in_child);
		if (round == 5)
			memset(map(64 * MIB), 1, 64 * MIB); /* the heap wakes in the middle */
	}
	before = atomic_load(&requests);
	for (int tries = 0; tries < 10000 && atomic_load(&requests) == before; tries++)
		wait_ms(1);
	must(atomic_load(&requests) > before);
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	must(holds(inherited, 5 * MIB, 5 * MIB, 3));
}
