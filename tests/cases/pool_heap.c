/* SPDX-License-Identifier: MIT
 *
 * A pool in a program whose memory is in regions: with the heap awake, forks in between, and spawns under way while
 * memory is frozen and settled. Linked with the shared library, and run with ODFORK_HEAP=on.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"

#define REQUIRE(condition)                                                                              \
	do {                                                                                            \
		if (!(condition)) {                                                                     \
			printf("line %d: %s (errno %d)\n", __LINE__, #condition, errno);                \
			exit(1);                                                                        \
		}                                                                                       \
	} while (0)

enum { SIZE = 96 << 20, ROUNDS = 20 };
static unsigned char *memory;

static uint64_t sum(void)
{
	uint64_t total = 0;

	for (size_t i = 0; i < SIZE; i += 4096)
		total += memory[i];
	return total;
}

static int sums(const void *input, size_t length, odf_output *output)
{
	uint64_t total = sum();

	(void)input, (void)length;
	return odf_output_write(output, &total, sizeof total);
}

static uint64_t sum_by(odf_pool *pool)
{
	odf_task *task;
	void *output;
	size_t length;
	uint64_t total;

	REQUIRE(odf_pool_submit(pool, sums, NULL, 0, &task) == 0 || odf_pool_submit(pool, sums, "", 1, &task) == 0);
	REQUIRE(odf_task_wait(task, &output, &length, -1) == 0 && length == sizeof total);
	memcpy(&total, output, sizeof total);
	odf_task_free(task);
	return total;
}

/* The arguments are in the heap and are freed at once; the program's exit status tells whether it got them. */
static pid_t spawn_not_awaited(odf_pool *pool, bool waits)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	char **argv = calloc(6, sizeof *argv), *large = malloc(70000);
	pid_t pid;

	REQUIRE(argv != NULL && large != NULL);
	memset(large, 'l', 70000);
	large[69999] = '\0';
	argv[0] = strdup("sh");
	argv[1] = strdup("-c");
	argv[2] = strdup("[ ${#1} = 69999 ] && [ \"$2\" = last ]");
	argv[3] = strdup("sh");
	argv[4] = large;
	argv = realloc(argv, 7 * sizeof *argv);
	argv[5] = strdup("last");
	argv[6] = NULL;
	options.flags = waits ? 0 : ODF_SPAWN_NO_WAIT;
	REQUIRE(odf_pool_spawn(pool, &pid, "/bin/sh", argv, NULL, &options, NULL) == 0);
	for (int i = 0; i < 6; i++) {
		memset(argv[i], 'x', strlen(argv[i]));
		free(argv[i]);
	}
	free(argv);
	return pid;
}

static void must_exit(pid_t pid, int code)
{
	int status;

	REQUIRE(waitpid(pid, &status, 0) == pid);
	REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

static void round_of(odf_pool *pool, int number)
{
	pid_t spawned[3], forked;
	uint64_t before;

	for (size_t i = (size_t)(number % 7) * 4096; i < SIZE; i += 7 * 4096)
		memory[i]++;
	before = sum();
	spawned[0] = spawn_not_awaited(pool, false);
	forked = fork();
	REQUIRE(forked >= 0);
	if (forked == 0) {
		usleep(1000);
		_exit(sum() == before ? 0 : 1);
	}
	spawned[1] = spawn_not_awaited(pool, false);
	for (size_t i = 0; i < SIZE; i += 64 * 4096)
		memory[i]++;
	spawned[2] = spawn_not_awaited(pool, true);
	must_exit(forked, 0);
	for (size_t i = 0; i < 3; i++)
		must_exit(spawned[i], 0);
}

static void *round_of_thread(void *pool)
{
	for (int i = 0; i < 20; i++)
		must_exit(spawn_not_awaited(pool, i % 2), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	odf_heap_info heap = ODF_HEAP_INFO_INIT;
	odf_pool *early, *late;
	uint64_t at_first, at_last;
	pthread_t threads[3];

	(void)argc;
	if (getenv("ODFORK_HEAP") == NULL) {
		setenv("ODFORK_HEAP", "on", 1);
		execv("/proc/self/exe", argv);
		return 2;
	}
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(memory != MAP_FAILED);
	memset(memory, 1, SIZE);
	REQUIRE(odf_heap_info_get(&heap) == 0);
	if (heap.state != ODF_HEAP_AWAKE && getenv("ODF_MUST_WORK") == NULL) {
		printf("no heap here: %s\n", odf_reason_name(heap.reason));
		return 77;
	}
	REQUIRE(heap.state == ODF_HEAP_AWAKE);
	early = odf_pool_create(NULL);
	REQUIRE(early != NULL);
	at_first = sum();
	for (int i = 0; i < ROUNDS; i++)
		round_of(early, i);
	at_last = sum();
	REQUIRE(at_last != at_first);
	late = odf_pool_create(NULL);
	REQUIRE(late != NULL);
	memory[0]++;
	REQUIRE(sum_by(early) == at_first);
	REQUIRE(sum_by(late) == at_last);
	REQUIRE(odf_pool_destroy(early) == 0);
	for (int i = 0; i < ROUNDS / 4; i++)
		round_of(late, i);
	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_create(&threads[i], NULL, round_of_thread, late) == 0);
	for (int i = 0; i < 10; i++)
		round_of(late, i);
	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	REQUIRE(sum_by(late) == at_last);
	REQUIRE(odf_pool_destroy(late) == 0);
	REQUIRE(wait(NULL) == -1 && errno == ECHILD);
	return 0;
}
