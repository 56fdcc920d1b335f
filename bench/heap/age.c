/* SPDX-License-Identifier: MIT
 *
 * age MIB AGE_MS: maps and writes MIB of memory in mappings of 1 MiB, forks AGE_MS later, and then three more times,
 * one second apart. Prints how long each fork held the caller, by the clock and in the caller's processor time, in
 * microseconds. The child and the parent check the memory. The program looks fork up with dlsym: a program that imports
 * fork has its memory in a region from the start.
 */
#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { PIECE = 1 << 20, PAGE = 4096, FORKS = 4 };

static double processor_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static pid_t fork_by_name(void)
{
	pid_t (*function)(void);

	*(void **)&function = dlsym(RTLD_DEFAULT, "fork");
	if (function == NULL) {
		fprintf(stderr, "age: no fork: %s\n", dlerror());
		exit(1);
	}
	return function();
}

static int is_right(char *const *pieces, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t at = 0; at < PIECE; at += PAGE)
			if (pieces[i][at] != (char)(i + at / PAGE + 1))
				return 0;
	return 1;
}

int main(int argc, char **argv)
{
	size_t count = argc == 3 ? (size_t)atol(argv[1]) : 0;
	char **pieces = calloc(count + 1, sizeof *pieces);

	if (count == 0 || pieces == NULL) {
		fprintf(stderr, "usage: age MIB AGE_MS\n");
		return 2;
	}
	for (size_t i = 0; i < count; i++) {
		pieces[i] = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (pieces[i] == MAP_FAILED) {
			perror("mmap");
			return 1;
		}
		for (size_t at = 0; at < PIECE; at += PAGE)
			pieces[i][at] = (char)(i + at / PAGE + 1);
	}
	usleep((useconds_t)(atol(argv[2]) * 1000));
	for (int round = 0; round < FORKS; round++) {
		double start = now_us(), used = processor_us();
		int status;
		pid_t pid = fork_by_name();
		if (pid == 0)
			_exit(!is_right(pieces, count));
		used = processor_us() - used;
		printf("%.0f %.0f ", now_us() - start, used);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
			fprintf(stderr, "age: the child found other bytes\n");
			return 1;
		}
		usleep(1000000);
	}
	printf("\n");
	return !is_right(pieces, count);
}
