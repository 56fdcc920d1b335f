/* SPDX-License-Identifier: MIT
 *
 * Endurance: one process forks and spawns many times, while the memory that it holds grows, shrinks and moves. Children
 * end at once, stay for a while, fork in turn, or write and free. Each child checks all memory against what it was at
 * the fork. These must not grow over the run: memory, mappings, descriptors, children; and in the long form the time
 * for which a fork holds its caller.
 *
 * ODF_ENDURANCE_CALLS (1000): how many forks and spawns. A million take about an hour. Each sample is printed.
 * ODF_ENDURANCE_HEAP (on): off, auto or on.
 */
#include <dirent.h>
#include <spawn.h>
#include <stdint.h>

#include "../support/preloaded.h"

#define BLOCKS     200
#define SAMPLES    20
#define TIMES      4096
#define STAY_MOST  3
#define PAGE       ((size_t)4096)
#define LONG_FORM  100000 /* from this many calls on the time of a fork is compared, too */
#define DRIFT      (12 * MIB)
#define DRIFT_MAPS 40

static struct block {
	unsigned char *memory;
	size_t size;
	unsigned char value;
	bool mapped;
} blocks[BLOCKS];

static unsigned random_state = 1;

static unsigned below(unsigned limit)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % limit;
}

static unsigned long number_of(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text != NULL && *text != '\0' ? strtoul(text, NULL, 10) : otherwise;
}

/* ---- The memory that it holds ---- */

static void fill(struct block *block)
{
	block->value = (unsigned char)(1 + below(255));
	memset(block->memory, block->value, block->size);
}

static bool is_whole(const struct block *block)
{
	for (size_t at = 0; at < block->size; at += at + 509 < block->size ? 509 : 1)
		if (block->memory[at] != block->value)
			return false;
	return true;
}

static bool is_all_whole(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		if (!is_whole(&blocks[i]))
			return false;
	return true;
}

static bool are_some_whole(void)
{
	for (unsigned i = 0; i < 6; i++)
		if (!is_whole(&blocks[below(BLOCKS)]))
			return false;
	return true;
}

/* From 16 bytes to a MiB, each order of magnitude equally often. */
static size_t some_size(void)
{
	size_t order = (size_t)16 << below(16);

	return order + below((unsigned)order);
}

static void give_back(struct block *block)
{
	if (block->mapped)
		must(munmap(block->memory, block->size) == 0);
	else
		free(block->memory);
	*block = (struct block){ 0 };
}

static void take(struct block *block)
{
	block->mapped = below(5) == 0;
	if (block->mapped) {
		block->size = PAGE * (1 + below(400));
		block->memory = mmap(NULL, block->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(block->memory != MAP_FAILED);
	} else {
		block->size = some_size();
		block->memory = malloc(block->size);
		must(block->memory != NULL);
	}
	fill(block);
}

static void resize(struct block *block)
{
	size_t size = block->mapped ? PAGE * (1 + below(400)) : some_size();
	unsigned char *memory = block->mapped ? mremap(block->memory, block->size, size, MREMAP_MAYMOVE)
					       : realloc(block->memory, size);

	must(memory != NULL && memory != MAP_FAILED);
	if (size > block->size)
		memset(memory + block->size, block->value, size - block->size);
	block->memory = memory;
	block->size = size;
}

static void churn(unsigned times)
{
	while (times-- > 0) {
		struct block *block = &blocks[below(BLOCKS)];
		switch (below(4)) {
		case 0:
			resize(block);
			break;
		case 1:
			fill(block);
			break;
		default:
			must(is_whole(block));
			give_back(block);
			take(block);
		}
	}
}

static size_t held(void)
{
	size_t sum = 0;

	for (size_t i = 0; i < BLOCKS; i++)
		sum += blocks[i].size;
	return sum;
}

/* ---- Calls ---- */

static int let_go[2];
static unsigned staying;
static double times[TIMES];
static unsigned long timed;

static double now_us(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void fork_timed(void)
{
	double start = now_us();
	pid_t pid = fork();

	if (pid == 0)
		_exit(are_some_whole() ? 0 : 1);
	must(pid > 0);
	times[timed++ % TIMES] = now_us() - start;
	if (below(2) == 0)
		churn(1);
	must(status_of(pid) == 0);
}

static void one_goes(void)
{
	int status;

	must(write(let_go[1], "", 1) == 1);
	must(waitpid(-1, &status, 0) > 0 && status == 0);
	staying--;
}

static void fork_that_stays(void)
{
	pid_t pid;
	char byte;

	if (staying == STAY_MOST)
		one_goes();
	pid = fork();
	if (pid == 0)
		_exit(read(let_go[0], &byte, 1) == 1 && is_all_whole() ? 0 : 1);
	must(pid > 0);
	staying++;
}

static void fork_that_forks(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		churn(3);
		pid = fork();
		if (pid == 0)
			_exit(is_all_whole() ? 0 : 1);
		churn(2);
		_exit(pid > 0 && status_of(pid) == 0 && are_some_whole() ? 0 : 1);
	}
	must(pid > 0);
	churn(2);
	must(status_of(pid) == 0);
}

static void spawn(void)
{
	static char name[] = "true";
	char *words[] = { name, NULL }, *no_environment[] = { NULL };
	pid_t pid;

	must(posix_spawn(&pid, "/bin/true", NULL, NULL, words, no_environment) == 0);
	must(status_of(pid) == 0);
}

static void call(void)
{
	unsigned kind = below(40);

	churn(1 + below(3));
	if (kind < 10)
		spawn();
	else if (kind == 10)
		fork_that_stays();
	else if (kind == 11)
		fork_that_forks();
	else if (kind == 12 && staying > 0)
		one_goes();
	else
		fork_timed();
}

/* ---- What must not grow ---- */

struct sample {
	size_t memory; /* of the heap, beyond what the program holds */
	unsigned mappings, descriptors, keepers_descriptors;
	double fork_us; /* the median */
};

static unsigned lines_of(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned count = 0;
	int c;

	must(file != NULL);
	while ((c = fgetc(file)) != EOF)
		count += c == '\n';
	fclose(file);
	return count;
}

static unsigned entries_of(const char *path)
{
	DIR *directory = opendir(path);
	unsigned count = 0;

	while (directory != NULL && readdir(directory) != NULL)
		count++;
	if (directory != NULL)
		closedir(directory);
	return count;
}

/* Of the keeper, if there is one at the moment. */
static unsigned descriptors_of_keeper(void)
{
	FILE *children = fopen("/proc/thread-self/children", "re");
	char path[64], name[32] = "";
	unsigned count = 0;
	pid_t child;

	while (children != NULL && fscanf(children, "%d", &child) == 1) {
		FILE *comm;
		snprintf(path, sizeof path, "/proc/%d/comm", child);
		comm = fopen(path, "re");
		if (comm != NULL && fgets(name, sizeof name, comm) != NULL && strcmp(name, "odfork-keeper\n") == 0) {
			snprintf(path, sizeof path, "/proc/%d/fd", child);
			count = entries_of(path);
		}
		if (comm != NULL)
			fclose(comm);
	}
	if (children != NULL)
		fclose(children);
	return count;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct sample look(void)
{
	struct sample sample = { 0 };
	odf_heap_info heap;
	size_t count;

	while (staying > 0)
		one_goes();
	must(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	must(is_all_whole());
	/* Memory that longer-lived children have left is settled in the background at low priority. So this takes the
	 * minimum of a second. */
	sample.memory = SIZE_MAX;
	for (unsigned tries = 0; tries < 40 && sample.memory > 8 * MIB; tries++) {
		if (tries % 8 == 0)
			fork_timed();
		wait_ms(25);
		heap = info();
		size_t beyond = heap.inside_bytes + heap.outside_bytes;
		beyond -= held() < beyond ? held() : beyond;
		if (beyond < sample.memory)
			sample.memory = beyond;
	}
	sample.mappings = lines_of("/proc/self/maps");
	sample.descriptors = entries_of("/proc/self/fd");
	sample.keepers_descriptors = descriptors_of_keeper();
	count = timed < TIMES ? timed : TIMES;
	qsort(times, count, sizeof *times, compare);
	sample.fork_us = times[count / 2];
	timed = 0;
	return sample;
}

/* Compares the minimum of the last quarter with the maximum of the second quarter: shows growth without bound despite
 * random variation. */
#define OUTGROWS(member, drift) \
	do { \
		double most = 0, least = -1; \
		for (unsigned i = SAMPLES / 4; i < SAMPLES / 2; i++) \
			if ((double)samples[i].member > most) \
				most = (double)samples[i].member; \
		for (unsigned i = SAMPLES - SAMPLES / 4; i < SAMPLES; i++) \
			if (least < 0 || (double)samples[i].member < least) \
				least = (double)samples[i].member; \
		if (least > most + (drift)) { \
			printf("# %s: at least %.0f in the end, at most %.0f before\n", #member, least, most); \
			grown = true; \
		} \
	} while (0)

/* If the heap is not awake, the run shows nothing about it. */
static bool is_awake(void)
{
	const char *heap = getenv("ODFORK_HEAP");

	return (heap != NULL && strcmp(heap, "off") == 0) || info().state == ODF_HEAP_AWAKE;
}

static void endure(char *words[CASE_WORDS])
{
	static struct sample samples[SAMPLES];
	unsigned long calls = strtoul(words[0], NULL, 10), done = 0;
	bool grown = false;

	(void)alarm(0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	must(pipe2(let_go, O_CLOEXEC) == 0);
	for (size_t i = 0; i < BLOCKS; i++)
		take(&blocks[i]);
	printf("# %10s %8s %10s %9s %12s %8s\n", "calls", "held MiB", "beyond MiB", "mappings", "descriptors",
		"fork us");
	for (unsigned i = 0; i < SAMPLES; i++) {
		for (; done < calls * (i + 1) / SAMPLES; done++)
			call();
		samples[i] = look();
		if (i == 0 && !is_awake())
			cannot_be_done_here("the heap is not awake");
		printf("# %10lu %8zu %10zu %9u %9u %2u %8.0f\n", done, held() / MIB, samples[i].memory / MIB,
			samples[i].mappings, samples[i].descriptors, samples[i].keepers_descriptors,
			samples[i].fork_us);
	}
	OUTGROWS(memory, (double)DRIFT);
	OUTGROWS(mappings, DRIFT_MAPS);
	OUTGROWS(descriptors, 0);
	OUTGROWS(keepers_descriptors, 0);
	if (calls >= LONG_FORM)
		OUTGROWS(fork_us, 2 * most);
	must(!grown);
	must(is_awake()); /* and has not gone to sleep */
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = { { "endure", endure } };
	const char *heap = getenv("ODF_ENDURANCE_HEAP");
	char calls[32];
	const char *words[] = { argv[0], "endure", calls, NULL };
	int status;

	if (argc > 1)
		run_case(cases, 1, argc, argv);
	snprintf(calls, sizeof calls, "%lu", number_of("ODF_ENDURANCE_CALLS", 1000));
	printf("1..1\n");
	fflush(stdout);
	status = execute(heap != NULL ? heap : "on", words, NULL, NULL);
	printf("%s 1 - %s forks and spawns: nothing grows%s\n", status == 0 || status == 77 ? "ok" : "not ok", calls,
	       status == 77 ? " # SKIP not here" : "");
	return status != 0 && status != 77;
}
