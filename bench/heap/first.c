/* SPDX-License-Identifier: MIT
 *
 * first MIB: how long a parent with MIB of memory in mappings waits in its first calls and faults after a fork. Turns
 * of N forks; after each, while the child lives: the first mmap, the first write to that mapping, the first write and
 * the first read of a page of the memory, and the first munmap. A kernel that copies page tables after the fork, in the
 * child, locks the parent's address space meanwhile.
 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "turns.h"

enum { PAGE = 4096 };
static const size_t unit = (size_t)64 << 20, small = 64 << 10;

enum { HELD, MAP, FRESH, WRITE, READ, UNMAP, WHATS };
static const char *const names[] = { "held", "map", "fresh", "write", "read", "unmap" };

static char **blocks;
static size_t block_count;
static uint64_t random_state = 1;

static volatile char *any_page(void)
{
	uint64_t number = random_number(&random_state) >> 8;

	return blocks[number % block_count] + (number / block_count) % (unit / PAGE) * PAGE;
}

static int look(double *times)
{
	double at = now_us(), then;
	volatile char *page;
	char *fresh;
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return -1;
	times[HELD] = (then = now_us()) - at;
	fresh = mmap(NULL, small, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	times[MAP] = (at = now_us()) - then;
	if (fresh == MAP_FAILED)
		return -1;
	fresh[0] = 1;
	times[FRESH] = (then = now_us()) - at;
	page = any_page();
	at = now_us();
	page[0] = (char)(page[0] + 1);
	times[WRITE] = (then = now_us()) - at;
	page = any_page();
	at = now_us();
	(void)page[0];
	times[READ] = (then = now_us()) - at;
	munmap(fresh, small);
	times[UNMAP] = now_us() - then;
	usleep(20000); /* for the work that the child, or the kernel on its behalf, still has to do */
	kill(pid, SIGKILL);
	if (waitpid(pid, NULL, 0) != pid)
		return -1;
	usleep(200000); /* for a library to settle */
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long rounds;

	block_count = argc == 2 ? (strtoul(argv[1], NULL, 10) << 20) / unit : 0;
	blocks = calloc(block_count + 1, sizeof *blocks);
	if (block_count == 0 || blocks == NULL) {
		fprintf(stderr, "usage: first MIB\n");
		return 2;
	}
	for (size_t i = 0; i < block_count; i++) {
		blocks[i] = mmap(NULL, unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (blocks[i] == MAP_FAILED) {
			perror("memory");
			return 1;
		}
		for (size_t at = 0; at < unit; at += PAGE)
			blocks[i][at] = 1;
	}
	while (next_turn(&rounds)) {
		double *times = calloc(rounds * WHATS, sizeof *times), *column = calloc(rounds, sizeof *column),
		       one[WHATS];
		if (times == NULL || column == NULL)
			return 1;
		for (unsigned long i = 0; i < rounds; i++) {
			if (look(one) != 0) {
				perror("fork");
				return 1;
			}
			for (int what = 0; what < WHATS; what++)
				times[(unsigned long)what * rounds + i] = one[what];
		}
		for (int what = 0; what < WHATS; what++) {
			memcpy(column, times + (unsigned long)what * rounds, rounds * sizeof *column);
			printf("%s_median_us %.2f ", names[what], quantile(column, rounds, 0.5));
			printf("%s_most_us %.2f%c", names[what], quantile(column, rounds, 1),
			       what == WHATS - 1 ? '\n' : ' ');
		}
		free(times);
		free(column);
	}
	return 0;
}
