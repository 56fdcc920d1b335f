/* SPDX-License-Identifier: MIT
 *
 * written MIB PERCENT FORKS: blocks of 1 MiB from malloc, all of them written; a fork; all of them written again; then
 * FORKS forks, with so much of the pages written at random between two. Each child looks at some pages. Says how long
 * the first fork held; of those FORKS the first, the median of the rest, the longest of all and the sum of all, in
 * microseconds; and MiB that the process has at the end: its proportional set size.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { BLOCK = 1 << 20, PAGE = 4096, PAGES = BLOCK / PAGE, LOOK_AT = 997 };

static unsigned char **blocks, *values;
static size_t pages;

static unsigned char *page(size_t index)
{
	return blocks[index / PAGES] + index % PAGES * PAGE;
}

static void write_page(size_t index)
{
	*page(index) = ++values[index];
}

static int is_right(size_t step)
{
	for (size_t index = 0; index < pages; index += step)
		if (*page(index) != values[index])
			return 0;
	return 1;
}

static double fork_us(void)
{
	double start = now_us(), held;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(!is_right(LOOK_AT));
	held = now_us() - start;
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "written: a child had not what was written\n");
		exit(1);
	}
	return held;
}

static long resident_mib(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "r");
	char line[256];
	long kib = 0;

	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "Pss: %ld", &kib) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return kib / 1024;
}

int main(int argc, char **argv)
{
	size_t mib = argc == 4 ? (size_t)atol(argv[1]) : 0, forks = argc == 4 ? (size_t)atol(argv[3]) : 0, some;
	double *held = calloc(forks + 1, sizeof *held), first, sum = 0;
	unsigned seed = 1;

	blocks = calloc(mib + 1, sizeof *blocks);
	pages = mib * PAGES;
	values = calloc(pages + 1, 1);
	if (mib == 0 || forks < 2 || blocks == NULL || values == NULL || held == NULL) {
		fprintf(stderr, "usage: written MIB PERCENT FORKS\n");
		return 2;
	}
	some = (size_t)((double)pages * atof(argv[2]) / 100);
	for (size_t i = 0; i < mib; i++) {
		blocks[i] = malloc(BLOCK);
		if (blocks[i] == NULL) {
			perror("malloc");
			return 1;
		}
		memset(blocks[i], 1, BLOCK);
	}
	memset(values, 1, pages);
	for (size_t i = 0; i < pages; i++)
		*page(i) = values[i];
	first = fork_us();
	for (size_t i = 0; i < pages; i++)
		write_page(i);
	for (size_t i = 0; i < forks; i++) {
		held[i] = fork_us();
		for (size_t k = 0; k < some; k++)
			write_page((seed = seed * 1103515245u + 12345u) / 16 % pages);
		sum += held[i];
	}
	if (!is_right(1)) {
		fprintf(stderr, "written: what was written is not there\n");
		return 1;
	}
	qsort(held + 1, forks - 1, sizeof *held, compare_samples);
	printf("%.0f %.0f %.0f %.0f %.0f %ld\n", first, held[0], held[1 + (forks - 1) / 2],
	       held[0] > held[forks - 1] ? held[0] : held[forks - 1], sum, resident_mib());
	return 0;
}
