/* SPDX-License-Identifier: MIT
 *
 * pool_tasks MIB SECONDS WORKERS: a process that holds MIB of memory on 4 KiB pages runs a small function, which
 * doubles an int, in other processes, for SECONDS in each way: by worker tasks, by one fork for each task, and for
 * comparison by threads of GLib's pool, which are not processes. Each way runs with one task at a time, which gives the
 * time of a round trip, and with up to 64 at a time. The pools are created before the process takes its memory. Every
 * result is checked.
 *
 * CSV: mib,way,at_once,tasks_per_s,median_us.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#if HAVE_GLIB
#include <glib.h>
#endif

#include "clock.h"
#include "odfork.h"

enum { MOST = 64, SAMPLES = 1 << 20 };

/* ---- Worker tasks ---- */

static int twice(const void *input, size_t length, odf_output *output)
{
	int value;

	if (length != sizeof value)
		return 1;
	memcpy(&value, input, sizeof value);
	value *= 2;
	return odf_output_write(output, &value, sizeof value);
}

static odf_pool *pool;
static odf_task *tasks[MOST];

static bool submit_with(unsigned slot, int value, uint64_t flags)
{
	odf_task_options options = ODF_TASK_OPTIONS_INIT;

	options.flags = flags;
	return odf_pool_submit_with(pool, twice, &value, sizeof value, &options, &tasks[slot]) == 0;
}

static bool pool_start(unsigned slot, int value)
{
	return odf_pool_submit(pool, twice, &value, sizeof value, &tasks[slot]) == 0;
}

static bool fresh_start(unsigned slot, int value)
{
	return submit_with(slot, value, ODF_TASK_FRESH);
}

static bool now_start(unsigned slot, int value)
{
	return submit_with(slot, value, ODF_TASK_FORK);
}

static int pool_end(unsigned slot)
{
	void *output;
	int value = -1;

	if (odf_task_wait(tasks[slot], &output, NULL, -1) == 0)
		memcpy(&value, output, sizeof value);
	odf_task_free(tasks[slot]);
	return value;
}

/* ---- A fork for each ---- */

static struct { pid_t pid; int from; } forked[MOST];

static bool fork_start(unsigned slot, int value)
{
	int pipes[2];

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return false;
	forked[slot].pid = fork();
	if (forked[slot].pid == 0) {
		value *= 2;
		_exit(write(pipes[1], &value, sizeof value) == sizeof value ? 0 : 1);
	}
	close(pipes[1]);
	forked[slot].from = pipes[0];
	return forked[slot].pid > 0;
}

static int fork_end(unsigned slot)
{
	int value = -1, status;

	if (read(forked[slot].from, &value, sizeof value) != sizeof value)
		value = -1;
	close(forked[slot].from);
	return waitpid(forked[slot].pid, &status, 0) == forked[slot].pid && status == 0 ? value : -1;
}

/* ---- Threads ---- */

#if HAVE_GLIB
static GThreadPool *threads;
static struct job { GMutex mutex; GCond cond; int value; bool done; } jobs[MOST];

static void run_job(gpointer data, gpointer unused)
{
	struct job *job = data;

	(void)unused;
	g_mutex_lock(&job->mutex);
	job->value *= 2;
	job->done = true;
	g_cond_signal(&job->cond);
	g_mutex_unlock(&job->mutex);
}

static bool glib_start(unsigned slot, int value)
{
	jobs[slot].value = value;
	jobs[slot].done = false;
	return g_thread_pool_push(threads, &jobs[slot], NULL);
}

static int glib_end(unsigned slot)
{
	g_mutex_lock(&jobs[slot].mutex);
	while (!jobs[slot].done)
		g_cond_wait(&jobs[slot].cond, &jobs[slot].mutex);
	g_mutex_unlock(&jobs[slot].mutex);
	return jobs[slot].value;
}
#endif

/* ---- Measuring ---- */

static const struct {
	const char *name;
	bool (*start)(unsigned slot, int value);
	int (*end)(unsigned slot);
	unsigned most;
} ways[] = {
	{ "odf_pool_submit", pool_start, pool_end, MOST },
	{ "odf_pool_submit (fresh worker each)", fresh_start, pool_end, MOST },
	{ "odf_pool_submit (fork of now each)", now_start, pool_end, 1 },
	{ "fork for each", fork_start, fork_end, 8 },
#if HAVE_GLIB
	{ "GLib GThreadPool (threads)", glib_start, glib_end, MOST },
#endif
};
enum { WAYS = sizeof ways / sizeof *ways };

static double samples[SAMPLES];

static void must(bool good, size_t way)
{
	if (!good) {
		fprintf(stderr, "pool_tasks: %s failed: %s\n", ways[way].name, strerror(errno));
		exit(1);
	}
}

/* Keeps `at_once` tasks running and always waits for the oldest one. */
static void measure(size_t mib, size_t way, unsigned at_once, double seconds)
{
	double start = now_us(), end = start + seconds * 1e6, began[MOST], now = start, rate;
	size_t done = 0, begun = 0, count = 0;

	while (now < end || done < begun) {
		unsigned slot;

		for (; begun - done < at_once && now < end; begun++) {
			slot = (unsigned)(begun % at_once);
			began[slot] = now_us();
			must(ways[way].start(slot, (int)(begun % 1000000)), way);
		}
		slot = (unsigned)(done % at_once);
		must(ways[way].end(slot) == 2 * (int)(done % 1000000), way);
		now = now_us();
		if (count < SAMPLES)
			samples[count++] = now - began[slot];
		done++;
	}
	rate = (double)done / (now - start) * 1e6;
	printf("%zu,%s,%u,%.*f,%.1f\n", mib, ways[way].name, at_once, rate < 100 ? 2 : 0, rate,
	       quantile(samples, count, 0.5));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	size_t mib = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	double seconds = argc == 4 ? strtod(argv[2], NULL) : 0;
	odf_pool_options options = ODF_POOL_OPTIONS_INIT;

	options.workers_max = options.workers_min = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	if (seconds <= 0 || options.workers_max == 0) {
		fprintf(stderr, "usage: pool_tasks MIB SECONDS WORKERS\n");
		return 2;
	}
	pool = odf_pool_create(&options);
	if (pool == NULL) {
		perror("odf_pool_create");
		return 1;
	}
#if HAVE_GLIB
	threads = g_thread_pool_new(run_job, NULL, (gint)options.workers_max, TRUE, NULL);
#endif
	hold_memory(mib << 20);
	printf("mib,way,at_once,tasks_per_s,median_us\n");
	for (size_t way = 0; way < WAYS; way++) {
		must(ways[way].start(0, 1) && ways[way].end(0) == 2, way); /* warms up */
		measure(mib, way, 1, seconds);
		if (ways[way].most > 1)
			measure(mib, way, ways[way].most, seconds);
	}
	return odf_pool_destroy(pool);
}
