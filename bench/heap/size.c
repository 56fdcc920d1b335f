/* SPDX-License-Identifier: MIT
 *
 * size MIB PERCENT: a process that holds MIB of memory, half in blocks from malloc and half in mappings. In each round
 * it writes PERCENT of the pages at random, forks, and waits for the child, which exits at once. Turns of N rounds.
 * "round" is the time of the whole round.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "turns.h"

enum { PAGE = 4096, BLOCK = 16 << 10 };

int main(int argc, char **argv)
{
	size_t pages = argc == 3 ? strtoul(argv[1], NULL, 10) << 8 : 0, written;
	double percent = argc == 3 ? strtod(argv[2], NULL) : 0;
	char **page = calloc(pages, sizeof *page);
	unsigned long rounds;
	uint64_t random = 1;

	if (pages == 0 || page == NULL) {
		fprintf(stderr, "usage: size MIB PERCENT\n");
		return 2;
	}
	written = (size_t)((double)pages * percent / 100);
	for (size_t i = 0; i < pages; i++) {
		size_t unit = i < pages / 2 ? BLOCK : 1 << 20;
		if (i * PAGE % unit != 0)
			page[i] = page[i - 1] + PAGE;
		else if (unit == BLOCK)
			page[i] = malloc(BLOCK);
		else
			page[i] = mmap(NULL, unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page[i] == NULL || page[i] == MAP_FAILED) {
			perror("memory");
			return 1;
		}
		page[i][0] = 1;
	}
	while (next_turn(&rounds)) {
		double *held = calloc(rounds, sizeof *held), *reaped = calloc(rounds, sizeof *reaped),
		       *whole = calloc(rounds, sizeof *whole);
		if (held == NULL || reaped == NULL || whole == NULL)
			return 1;
		for (unsigned long i = 0; i < rounds; i++) {
			double start = now_us(), before;
			pid_t pid;
			for (size_t w = 0; w < written; w++)
				page[random_number(&random) % pages][8] += 1;
			before = now_us();
			pid = fork();
			if (pid == 0)
				_exit(0);
			held[i] = now_us() - before;
			if (pid < 0 || waitpid(pid, NULL, 0) != pid)
				return 1;
			reaped[i] = now_us() - before;
			whole[i] = now_us() - start;
		}
		printf("held_median_us %.1f held_p99_us %.1f reaped_median_us %.1f round_median_us %.1f\n",
		       quantile(held, rounds, 0.5), quantile(held, rounds, 0.99), quantile(reaped, rounds, 0.5),
		       quantile(whole, rounds, 0.5));
		free(held);
		free(reaped);
		free(whole);
	}
	return 0;
}
