/* SPDX-License-Identifier: MIT
 *
 * first_fork [MILLISECONDS [mapped]]: what a program pays when the heap wakes, and for its first fork. Prints three
 * times in microseconds: of malloc(64 MiB), or of mmap with `mapped`, which wakes the heap; of the first write to each
 * of its pages; and of the first fork, MILLISECONDS (default 0) after them. Then prints the same three in processor
 * time of the calling thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE ((size_t)64 << 20)

struct moment {
	double clock, processor;
};

static double now_us(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static struct moment now(void)
{
	return (struct moment){ now_us(CLOCK_MONOTONIC), now_us(CLOCK_THREAD_CPUTIME_ID) };
}

static void rest_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

int main(int argc, char **argv)
{
	struct moment start, woken, written, before, after;
	char *memory;
	pid_t pid;

	(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* 4 KiB pages, whatever this machine's setting is */
	start = now();
	memory = argc > 2 ? mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : malloc(SIZE);
	woken = now();
	if (memory == NULL || memory == MAP_FAILED)
		return 1;
	memset(memory, 1, SIZE);
	written = now();
	rest_ms(argc > 1 ? atol(argv[1]) : 0);
	before = now();
	pid = fork();
	after = now();
	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		return 1;
	printf("%.0f %.0f %.0f ", woken.clock - start.clock, written.clock - woken.clock, after.clock - before.clock);
	printf("%.0f %.0f %.0f\n", woken.processor - start.processor, written.processor - woken.processor,
	       after.processor - before.processor);
	return 0;
}
