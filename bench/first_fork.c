/* SPDX-License-Identifier: MIT
 *
 * What a program pays for the first fork, and before it for the waking of the heap: microseconds of malloc(64 MiB), by
 * which the heap wakes, and of the first fork. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE ((size_t)64 << 20)

static double now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

int main(void)
{
	double start = now_us(), woken, before, after;
	char *memory = malloc(SIZE);
	pid_t pid;

	woken = now_us();
	if (memory == NULL)
		return 1;
	memset(memory, 1, SIZE);
	before = now_us();
	pid = fork();
	after = now_us();
	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		return 1;
	printf("%.0f %.0f\n", woken - start, after - before);
	return 0;
}
