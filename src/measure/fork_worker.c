/* SPDX-License-Identifier: MIT
 *
 * The worker process that fork_worker.h describes.
 */
#include "fork_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "odfork.h"
#include "process_memory.h"
#include "spawn_ways.h"
#include "worker_memory.h"

/* Shared memory: a child measures its faults into it, and the parent's stores after a fork cause no copy. */
static struct sample *samples;

bool receive(int fd, void *data, size_t size)
{
	for (size_t have = 0; have < size;) {
		ssize_t got = read(fd, (char *)data + have, size - have);
		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	return true;
}

bool send_all(int fd, const void *data, size_t size)
{
	for (size_t have = 0; have < size;) {
		ssize_t put = send(fd, (const char *)data + have, size - have, MSG_NOSIGNAL);
		if (put <= 0)
			return false;
		have += (size_t)put;
	}
	return true;
}

/* ---- Rounds ---- */

static void pause_us(unsigned us)
{
	struct timespec time = { us / 1000000, us % 1000000 * 1000L };
	while (nanosleep(&time, &time) != 0)
		;
}

static odf_region_info region_info(void)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	if (odf_region_info_get(worker_region, &info) != 0)
		worker_fail("odf_region_info_get");
	return info;
}

/* Sleeps until the region is LIVE; without a region for the given time: a core that slept forks more slowly, several
 * times so after tens of milliseconds, which must not count for one of the two only. False: the region does not become
 * LIVE. */
static bool rest(double without_region_us)
{
	const unsigned first_us = 100, longest_us = 20000000;
	double start = now_us();

	if (worker_region == NULL) {
		pause_us(without_region_us > first_us ? (unsigned)without_region_us : first_us);
		return true;
	}
	for (unsigned us = first_us;; us = us < 2000 ? us * 2 : us) {
		odf_region_info info;
		pause_us(us);
		info = region_info();
		if (info.state == ODF_REGION_LIVE) {
			pause_us(500); /* the questions have woken the keeper */
			return true;
		}
		if (info.settling == ODF_REGION_SETTLES_NEVER || now_us() - start > longest_us)
			return false;
		if (info.settling != ODF_REGION_SETTLES_ALWAYS)
			odf_region_settle(worker_region);
	}
}

static pid_t make_process(void)
{
	odf_fork_options by_kernel = ODF_FORK_OPTIONS_INIT;
	pid_t pid;

	by_kernel.allow = ODF_ALLOW(ODF_STRATEGY_KERNEL);
	pid = worker_kind == BY_KERNEL ? odf_fork_with(&by_kernel, NULL) : worker_region != NULL ? odf_fork() : fork();
	if (pid < 0)
		worker_fail("fork");
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		worker_fail("waitpid");
	if (status != 0) {
		fprintf(stderr, "%s: the child's memory is not what was written there, or it died (status %#x)\n",
			program_invocation_short_name, (unsigned)status);
		exit(1);
	}
}

/* ALIVE: the children, in a ring. */
enum { MOST_ALIVE = 256 };
static struct {
	pid_t pid[MOST_ALIVE];
	int pipe_end[MOST_ALIVE];
	size_t count, oldest;
} family;

/* A child that lives until the pipe is closed, or the caller has ended. */
static pid_t make_companion(int *pipe_end)
{
	int ends[2];
	char byte;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0)
		worker_fail("pipe2");
	pid = make_process();
	if (pid == 0) {
		close(ends[1]);
		for (size_t i = 0; i < family.count; i++) /* or those would live as long as this child */
			close(family.pipe_end[(family.oldest + i) % MOST_ALIVE]);
		_exit(read(ends[0], &byte, 1) != 0);
	}
	close(ends[0]);
	*pipe_end = ends[1];
	return pid;
}

/* The first number in the file, or 0: the keeper is a child of the thread that started it. */
static double number_in(const char *path)
{
	FILE *file = fopen(path, "re");
	double number = 0;

	if (file != NULL && fscanf(file, "%lf", &number) != 1)
		number = 0;
	if (file != NULL)
		fclose(file);
	return number;
}

static bool is_keeper(int pid)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (file != NULL && fgets(name, sizeof name, file) == NULL)
		name[0] = 0;
	if (file != NULL)
		fclose(file);
	return strcmp(name, "odfork-keeper\n") == 0;
}

static double keeper_cpu_us(void)
{
	static int keeper;
	char path[64];
	FILE *file;
	int pid;

	if (worker_region == NULL)
		return 0;
	file = keeper == 0 ? fopen("/proc/thread-self/children", "re") : NULL;
	while (file != NULL && keeper == 0 && fscanf(file, "%d", &pid) == 1)
		keeper = is_keeper(pid) ? pid : 0;
	if (file != NULL)
		fclose(file);
	snprintf(path, sizeof path, "/proc/%d/schedstat", keeper);
	return keeper == 0 ? 0 : number_in(path) / 1e3;
}

static double cpu_us_of(int who)
{
	struct rusage usage;

	if (getrusage(who, &usage) != 0)
		worker_fail("getrusage");
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* HELD, MIX, STEADY and CLOSE are the same round with different parameters. */
static size_t round_of_fork(const struct job *job, struct sample *sample)
{
	const struct cell *cell = &job->cell;
	struct walk walk = walk_begin(cell->in_order);
	double cpu = keeper_cpu_us(), begin = now_us(), start;
	pid_t pid;

	write_at_random(worker_part(cell->parent_percent));
	sample->parent_us = now_us() - begin;
	begin = now_us();
	sample->not_live = job->from_rest && !rest(job->rest_us);
	start = now_us();
	sample->rest_us = start - begin;
	pid = make_process();
	if (pid == 0) {
		bool right = touch_many(&walk, worker_part(cell->child_percent), cell->writes);
		if (cell->lives_us > 0)
			pause_us(cell->lives_us);
		_exit(!right);
	}
	sample->held_us = now_us() - start;
	reap(pid);
	sample->total_us = now_us() - start;
	sample->keeper_us = keeper_cpu_us() - cpu;
	return 1;
}

static bool measure_faults(const struct cell *cell, struct sample *sample)
{
	struct walk walk = walk_begin(false);
	bool right = true;

	for (size_t i = 0; i < cell->pages; i++) {
		size_t page = walk_next(&walk);
		double start = now_us();
		right &= touch(page, cell->writes);
		sample[i].held_us = now_us() - start;
	}
	return right;
}

static size_t round_of_faults(const struct job *job, struct sample *sample)
{
	const struct cell *cell = &job->cell;
	pid_t pid;
	int pipe_end;

	memset(sample, 0, cell->pages * sizeof *sample);
	sample->not_live = !rest(job->rest_us);
	if (cell->in_parent) {
		pid = make_companion(&pipe_end);
		worker_check(measure_faults(cell, sample));
		close(pipe_end);
	} else {
		pid = make_process();
		if (pid == 0)
			_exit(!measure_faults(cell, sample));
	}
	reap(pid);
	return cell->pages;
}

/* The measured fork follows one whose child is still alive: nothing can settle in between. */
static size_t round_of_sparse(const struct job *job, struct sample *sample)
{
	const struct cell *cell = &job->cell;
	size_t area = cell->width / PAGE, first = worker_draw() % (worker_pages / area) * area;
	struct walk all = walk_begin(true);
	double begin, start;
	pid_t companion, pid;
	int pipe_end;

	sample->not_live = !rest(job->rest_us);
	companion = make_companion(&pipe_end);
	if (cell->reads_all)
		worker_check(touch_many(&all, worker_pages, false));
	begin = now_us();
	for (size_t i = 0; i < cell->pages; i++)
		worker_check(touch(first + i * area / cell->pages, true));
	start = now_us();
	sample->parent_us = start - begin;
	pid = make_process();
	if (pid == 0)
		_exit(0);
	sample->held_us = now_us() - start;
	reap(pid);
	sample->total_us = now_us() - start;
	close(pipe_end);
	reap(companion);
	return 1;
}

/* The parent touches all of its memory after each fork. */
static size_t round_of_after(const struct job *job, struct sample *sample)
{
	const struct cell *cell = &job->cell;
	struct walk walk = walk_begin(true);
	double cpu = cpu_us_of(RUSAGE_SELF) + cpu_us_of(RUSAGE_CHILDREN), keeper = keeper_cpu_us(), start = now_us();
	pid_t pid = make_process();

	if (pid == 0) {
		if (cell->lives_us > 0)
			pause_us(cell->lives_us);
		_exit(0);
	}
	sample->held_us = now_us() - start;
	if (cell->lives_us == 0)
		reap(pid);
	worker_check(touch_many(&walk, worker_pages, cell->writes));
	if (cell->lives_us > 0)
		reap(pid);
	sample->total_us = now_us() - start;
	sample->keeper_us = keeper_cpu_us() - keeper;
	sample->cpu_us = cpu_us_of(RUSAGE_SELF) + cpu_us_of(RUSAGE_CHILDREN) - cpu + sample->keeper_us;
	return 1;
}

static void end_oldest(void)
{
	close(family.pipe_end[family.oldest]);
	reap(family.pid[family.oldest]);
	family.oldest = (family.oldest + 1) % MOST_ALIVE;
	family.count--;
}

static void add_child(const struct cell *cell, struct sample *sample)
{
	size_t at = (family.oldest + family.count) % MOST_ALIVE;
	double begin = now_us(), start;

	write_at_random(worker_part(cell->parent_percent));
	start = now_us();
	sample->parent_us = start - begin;
	family.pid[at] = make_companion(&family.pipe_end[at]);
	sample->held_us = now_us() - start;
	family.count++;
}

/* Memory of the process and all of its children. */
static double family_memory_kib(void)
{
	double sum = process_memory_kib(getpid()), one = 0;

	for (size_t i = 0; i < family.count && one >= 0; i++) {
		one = process_memory_kib(family.pid[(family.oldest + i) % MOST_ALIVE]);
		sum += one;
	}
	if (sum < 0 || one < 0)
		worker_fail("memory of a process");
	return worker_region == NULL ? sum : sum + (double)region_info().resident_bytes / 1024;
}

static size_t round_of_alive(const struct job *job, struct sample *sample)
{
	enum { MEMORY_EACH = 8 }; /* rounds, not the first: measuring takes as long as several rounds */

	while (family.count < job->cell.alive)
		add_child(&job->cell, sample);
	add_child(&job->cell, sample);
	end_oldest();
	if ((sample - samples) % MEMORY_EACH == 1)
		sample->memory_kib = family_memory_kib();
	return 1;
}

/* The program ends before the next one starts. */
static size_t round_of_spawn(const struct job *job, struct sample *sample)
{
	const struct spawn_way *way = &spawn_ways[job->cell.spawn_way];
	double start = now_us();
	pid_t pid = way->start();
	int status;

	sample->held_us = now_us() - start;
	if (pid < 0)
		worker_fail(way->name);
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "%s: %s: %s ends with status %#x\n", program_invocation_short_name, way->name,
			spawned_program, (unsigned)status);
		exit(1);
	}
	sample->total_us = now_us() - start;
	return 1;
}

/* ---- Jobs ---- */

/* Rounds at the start of a slice that are not counted, if there are many: they warm up what the process before has left
 * cold. */
static size_t warm_up(enum experiment experiment, size_t count)
{
	if (experiment == FAULT || experiment == CLOSE || count < 5)
		return 0;
	if (experiment == SPAWN)
		return count >= 10 ? 3 : 1;
	return experiment == STEADY && count >= 20 ? 5 : 1;
}

static size_t do_job(const struct job *job)
{
	double end = now_us() + job->slice_us;
	size_t count = 0, room = job->cell.experiment == FAULT ? job->cell.pages : 1, left_out;

	do {
		struct sample *sample = samples + count;
		memset(sample, 0, sizeof *sample);
		switch (job->cell.experiment) {
		case FAULT:
			count += round_of_faults(job, sample);
			break;
		case AFTER:
			count += round_of_after(job, sample);
			break;
		case ALIVE:
			count += round_of_alive(job, sample);
			break;
		case SPARSE:
			count += round_of_sparse(job, sample);
			break;
		case SPAWN:
			count += round_of_spawn(job, sample);
			break;
		default:
			count += round_of_fork(job, sample);
		}
		/* Faults while a child lives have split the huge pages, so there can be one round only. */
	} while (now_us() < end && count < job->limit && count + room <= MOST_SAMPLES &&
		 !(worker_kind == HUGE_PAGES && room > 1));
	while (family.count > 0)
		end_oldest();
	left_out = warm_up(job->cell.experiment, count);
	memmove(samples, samples + left_out, (count - left_out) * sizeof *samples);
	return count - left_out;
}

static bool answer(size_t count, int huge)
{
	struct reply reply = { count, huge, worker_region != NULL ? (int)region_info().settling : -1 };
	return send_all(STDIN_FILENO, &reply, sizeof reply) && send_all(STDIN_FILENO, samples, count * sizeof *samples);
}

int work(enum memory memory_kind, size_t bytes)
{
	struct job job;
	bool heard;

	(void)spawn_ways_find(); /* the one that asked for SPAWN has called this too */
	samples = mmap(NULL, MOST_SAMPLES * sizeof *samples, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (samples == MAP_FAILED)
		worker_fail("mmap");
	worker_get_memory(memory_kind, bytes);
	heard = answer(0, -1);
	while (heard && receive(STDIN_FILENO, &job, sizeof job)) {
		int huge = -1;
		size_t count;
		if (worker_kind == HUGE_PAGES) {
			worker_restore_huge_pages();
			huge = worker_huge_percent();
		}
		count = do_job(&job);
		rest(0); /* so that no work of this process continues during the next one's turn */
		heard = answer(count, huge);
	}
	return 0;
}
