/* SPDX-License-Identifier: MIT
 *
 * ends MIB own|shared kill|exit|exec [LIBRARY]: milliseconds from the end of a program until its memory is free, as
 * seen from outside, and milliseconds of processor time that the end took.
 *
 * The program has MIB of private memory, or of shared memory of a memfd. It forks, writes all of the memory again, and
 * rests. With LIBRARY preloaded a keeper process shares the memory (odfork_keeper(7)). A pidfd polls as readable after
 * the process has released its memory and files: this program waits for both processes. With exec it waits for the
 * executed program instead of the first process: that program starts after the old memory has been freed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define must(condition) ((condition) ? (void)0 : (perror(#condition), exit(1)))

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void rest_ms(unsigned milliseconds)
{
	struct timespec time = { milliseconds / 1000, (long)(milliseconds % 1000) * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

/* ---- The program ---- */

static void hold(size_t size, bool shared)
{
	int file = shared ? memfd_create("ends", MFD_CLOEXEC) : -1;
	char *memory;
	pid_t child;

	must(!shared || (file >= 0 && ftruncate(file, (off_t)size) == 0));
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, file, 0);
	must(memory != MAP_FAILED);
	if (shared)
		close(file);
	memset(memory, 1, size);
	child = fork();
	if (child == 0)
		_exit(0);
	must(child > 0 && waitpid(child, NULL, 0) == child);
	memset(memory, 2, size);
	rest_ms(600);
}

static int be_program(char **argv)
{
	char byte;

	hold((size_t)atol(argv[2]) << 20, strcmp(argv[3], "shared") == 0);
	must(write(1, "x", 1) == 1 && read(0, &byte, 1) == 1);
	if (strcmp(argv[4], "exec") == 0)
		execl("/proc/self/exe", "ends", "executed", (char *)NULL);
	_exit(0);
}

static int be_executed(void)
{
	char byte;

	must(write(1, "x", 1) == 1);
	return read(0, &byte, 1) != 0;
}

/* ---- Outside ---- */

static int keeper_of(pid_t pid)
{
	char path[64], name[32];
	int keeper = -1, child;
	FILE *children;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
	children = fopen(path, "re");
	must(children != NULL);
	while (keeper < 0 && fscanf(children, "%d", &child) == 1) {
		FILE *comm;
		snprintf(path, sizeof path, "/proc/%d/comm", child);
		comm = fopen(path, "re");
		must(comm != NULL && fgets(name, sizeof name, comm) != NULL);
		fclose(comm);
		if (strcmp(name, "odfork-keeper\n") == 0)
			keeper = child;
	}
	fclose(children);
	return keeper;
}

static void wait_for(int file)
{
	struct pollfd ready = { file, POLLIN, 0 };

	must(poll(&ready, 1, -1) == 1);
}

/* Milliseconds of processor time that the process has used; also works for a zombie. */
static double ran_ms(pid_t pid)
{
	char path[64];
	unsigned long long nanoseconds;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
	file = fopen(path, "re");
	must(file != NULL && fscanf(file, "%llu", &nanoseconds) == 1);
	fclose(file);
	return (double)nanoseconds / 1e6;
}

static void measure(char **argv, const char *library)
{
	bool executes = strcmp(argv[3], "exec") == 0;
	int to[2], from[2], end, keeper, keeper_end = -1;
	char byte;
	double start, took, ran, keeper_ran = 0;
	pid_t pid;

	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0); /* its zombie keeps the keeper's time readable */
	must(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		must(dup2(to[0], 0) == 0 && dup2(from[1], 1) == 1);
		(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* 4 KiB pages, whatever this machine's setting is */
		if (library != NULL)
			setenv("LD_PRELOAD", library, 1);
		execl("/proc/self/exe", "ends", "program", argv[1], argv[2], argv[3], (char *)NULL);
		_exit(127);
	}
	must(pid > 0);
	close(from[1]);
	must(read(from[0], &byte, 1) == 1);
	end = (int)syscall(SYS_pidfd_open, pid, 0);
	keeper = keeper_of(pid);
	if (keeper > 0)
		keeper_end = (int)syscall(SYS_pidfd_open, keeper, 0);
	must(end >= 0 && (library == NULL) == (keeper_end < 0));
	rest_ms(50);
	ran = ran_ms(pid);
	if (keeper > 0)
		keeper_ran = ran_ms(keeper);
	start = now_ms();
	if (strcmp(argv[3], "kill") == 0)
		must(kill(pid, SIGKILL) == 0);
	else
		must(write(to[1], "x", 1) == 1);
	wait_for(executes ? from[0] : end);
	if (keeper_end >= 0)
		wait_for(keeper_end);
	took = now_ms() - start;
	ran = ran_ms(pid) - ran;
	if (keeper > 0 && kill(keeper, 0) == 0) /* a keeper that ended before the program was reaped by the program */
		ran += ran_ms(keeper) - keeper_ran;
	printf("%.3f %.3f\n", took, ran);
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "program") == 0)
		return be_program(argv);
	if (argc == 2 && strcmp(argv[1], "executed") == 0)
		return be_executed();
	if (argc < 4 || argc > 5)
		return 2;
	measure(argv, argc == 5 ? argv[4] : NULL);
	return 0;
}
