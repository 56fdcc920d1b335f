/* SPDX-License-Identifier: MIT
 *
 * Looks at a program that has a keeper, from inside it and from other processes, and runs such programs, each in a
 * process of its own. A test that includes this is linked with the shared library.
 */
#ifndef ODF_TESTS_KEEPER_PROGRAM_H
#define ODF_TESTS_KEEPER_PROGRAM_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"
#include "case_seconds.h"

#define MIB ((size_t)1 << 20)
#define SIZE (32 * MIB)

#define must(condition) ((condition) ? (void)0 : wrong(__LINE__, #condition))

static inline __attribute__((noreturn)) void wrong(int line, const char *condition)
{
	fprintf(stderr, "line %d: %s (errno %d)\n", line, condition, errno);
	_exit(1);
}

static inline __attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	fprintf(stderr, "skipped: %s\n", reason);
	_exit(77);
}

static inline void wait_ms(unsigned milliseconds)
{
	struct timespec time = { milliseconds / 1000, (long)(milliseconds % 1000) * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

static inline double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static inline int status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		must(errno == EINTR);
	return status;
}

/* ---- The program ------------------------------------------------------------------------------------------------- */

static inline bool heap_is_awake(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	return odf_heap_info_get(&info) == 0 && info.state == ODF_HEAP_AWAKE;
}

static char *memory;

static inline void fill(char byte)
{
	memset(memory, byte, SIZE);
}

static inline void map_memory(size_t size)
{
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
}

/* Maps memory, which comes from the heap's region, and fills it. */
static inline void grow(void)
{
	must(heap_is_awake());
	map_memory(SIZE);
	fill(1);
}

static inline void fork_and_write(char byte)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(0);
	fill(byte);
	must(status_of(pid) == 0);
}

/* Forks after the whole region was written, writes it again, and waits for the settle that follows. */
static inline void must_settle(odf_region *region, char byte)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	uint64_t settled;

	must(odf_region_info_get(region, &info) == 0);
	settled = info.settles;
	memset(odf_region_base(region), byte, odf_region_capacity(region));
	fork_and_write(byte);
	memset(odf_region_base(region), byte + 1, odf_region_capacity(region));
	for (double end = now() + 60; info.settles == settled; wait_ms(1)) {
		must(now() < end);
		must(odf_region_info_get(region, &info) == 0);
	}
	must(heap_is_awake() && odf_region_info_get(region, &info) == 0 && info.state == ODF_REGION_LIVE);
}

/* The keeper's pid: the child with the keeper's name. 0: there is none. `program` may be another process. */
static inline pid_t keeper_of(pid_t program)
{
	char path[100], name[100];
	struct dirent *entry;
	DIR *tasks;
	pid_t found = 0, child;

	snprintf(path, sizeof path, "/proc/%d/task", program);
	tasks = opendir(path);
	while (tasks != NULL && found == 0 && (entry = readdir(tasks)) != NULL) {
		FILE *children;
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", program, entry->d_name);
		children = fopen(path, "re");
		while (children != NULL && found == 0 && fscanf(children, "%d", &child) == 1) {
			FILE *comm;
			snprintf(path, sizeof path, "/proc/%d/comm", child);
			comm = fopen(path, "re");
			if (comm != NULL && fgets(name, sizeof name, comm) != NULL &&
			    strcmp(name, "odfork-keeper\n") == 0)
				found = child;
			if (comm != NULL)
				fclose(comm);
		}
		if (children != NULL)
			fclose(children);
	}
	if (tasks != NULL)
		closedir(tasks);
	return found;
}

/* Whether the process has memory: a process that has ended, or is far enough in exit, has none. */
static inline bool has_memory(pid_t pid)
{
	char path[64];
	unsigned long size = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/statm", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fscanf(file, "%lu", &size) != 1)
		size = 0;
	fclose(file);
	return size > 0;
}

static inline void must_lose_its_memory(pid_t keeper)
{
	for (double end = now() + 120; has_memory(keeper); wait_ms(1))
		must(now() < end);
}

/* ---- The cases --------------------------------------------------------------------------------------------------- */

/* `heap` is ODFORK_HEAP: with "on" the program's memory is in the heap from the start, with "auto" only once the
 * program enables the heap. */
struct keeper_case {
	const char *name;
	void (*run)(void);
	const char *heap;
};
#define CASE(name, heap) { #name, name, heap }

static inline int run_case(const struct keeper_case *one)
{
	pid_t pid = fork();

	if (pid == 0) {
		setenv("ODFORK_HEAP", one->heap, 1);
		execl("/proc/self/exe", "keeper", one->name, (char *)NULL);
		_exit(127);
	}
	must(pid > 0);
	return status_of(pid);
}

static inline int number_of(const char *variable)
{
	const char *text = getenv(variable);

	return text != NULL ? atoi(text) : 0;
}

/* Runs all cases, each in a process of its own; or the case that argv names, in this one. */
static inline int run_cases(int argc, char **argv, const struct keeper_case *cases, size_t count)
{
	const char *needed = getenv("ODF_MUST_WORK");
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	int failed = 0;

	if (argc > 1) {
		alarm(case_seconds(120) + (unsigned)number_of("ODF_TEST_SECONDS"));
		for (size_t i = 0; i < count; i++)
			if (strcmp(argv[1], cases[i].name) == 0)
				cases[i].run();
		return 0;
	}
	if (odf_capabilities_get(&capabilities) != 0 || capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE) {
		printf("1..0 # SKIP no regions here: %s\n",
		       odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
		return 0;
	}
	printf("1..%zu\n", count);
	for (size_t i = 0; i < count; i++) {
		int status = run_case(&cases[i]);
		bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == 77 &&
			       !(needed != NULL && strcmp(needed, "1") == 0);
		if (status != 0 && !skipped)
			failed++;
		printf("%s %zu - %s%s\n", status == 0 || skipped ? "ok" : "not ok", i + 1, cases[i].name,
		       skipped ? " # SKIP" : "");
		fflush(stdout);
	}
	return failed > 0;
}
#endif
