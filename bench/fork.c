/* SPDX-License-Identifier: MIT
 *
 * fork [OPTION...]: what a fork costs a process that holds much memory: the call, the faults after it, the whole job of
 * the child, and one fork after another. The variants: memory on 4 KiB pages (p4k), on 2 MiB pages (p2m), in a region
 * that is LIVE at each fork (region), in a region that is forked again at once (region_next), and a process that holds
 * no memory (empty, empty_next), which is the lower bound. Except in the _next variants each round of held, mix, fault
 * and sparse begins with a rest, as long as the region takes to become LIVE; the rest is not part of the figures.
 *
 *   --sizes LIST      amounts of memory: 64M,1G or MiB; without it each experiment has its own
 *   --only LIST       of held, mix, steady, close, after, alive, fault, sparse
 *   --child LIST      mix: percentages of the pages that the child touches
 *   --parent LIST     mix, steady: percentages that the parent writes between forks; steady leaves out 0
 *   --quick           less of everything, within 40 seconds
 *   --csv PREFIX      writes PREFIX-held.csv, PREFIX-mix.csv..., else to standard output
 *   --note TEXT       the first line of each file
 *
 * Each kind of memory has its own worker process (fork_worker.h). The workers take turns in random order, so that a
 * drift of the machine's speed affects all of them alike. Workers that do not fit into memory together run one after
 * the other. Times are of CLOCK_MONOTONIC, in microseconds.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "available.h"
#include "clock.h"
#include "fork_cells.h"
#include "odfork.h"

static const struct {
	enum memory memory;
	unsigned experiments;
} variants[VARIANTS] = {
	[P4K] = { SMALL_PAGES,
	  IN(HELD) | IN(MIX) | IN(STEADY) | IN(CLOSE) | IN(AFTER) | IN(ALIVE) | IN(FAULT) | IN(SPARSE) },
	[P2M] = { HUGE_PAGES, IN(HELD) | IN(MIX) | IN(STEADY) | IN(FAULT) },
	[REGION] = { IN_REGION,
	  IN(HELD) | IN(MIX) | IN(STEADY) | IN(CLOSE) | IN(AFTER) | IN(ALIVE) | IN(FAULT) | IN(SPARSE) },
	[REGION_NEXT] = { IN_REGION, IN(HELD) | IN(MIX) },
	[EMPTY] = { NO_MEMORY, IN(HELD) },
	[EMPTY_NEXT] = { NO_MEMORY, IN(HELD) },
};

/* A pass over a cell starts no further turn after this time: a child that writes gibibytes gets one turn. */
static const double long_turns_us = 10e6;

/* ---- Workers ----------------------------------------------------------------------------------------------------- */

static struct worker {
	pid_t pid; /* 0: none */
	int fd;
} workers[MEMORIES];

/* Receives the worker's next reply and appends its samples to `series` (NULL: the reply must have none). False: the
 * worker has ended. */
static bool hear(struct worker *worker, struct series *series)
{
	struct reply reply;

	if (!receive(worker->fd, &reply, sizeof reply))
		return false;
	if (series == NULL)
		return reply.count == 0;
	series->samples = reallocarray(series->samples, series->count + reply.count, sizeof *series->samples);
	if (series->samples == NULL)
		die("memory");
	if (!receive(worker->fd, series->samples + series->count, reply.count * sizeof *series->samples))
		return false;
	series->count += reply.count;
	series->settling = reply.settling;
	if (series->huge_percent < 0 || reply.huge_percent < series->huge_percent)
		series->huge_percent = reply.huge_percent;
	return true;
}

static void stop_worker(enum memory memory)
{
	struct worker *worker = &workers[memory];

	if (worker->pid == 0)
		return;
	close(worker->fd);
	if (waitpid(worker->pid, NULL, 0) != worker->pid)
		die("waitpid");
	worker->pid = 0;
}

/* The worker is a newly executed program: a fork of this process would also hold the samples taken so far. */
static void start_worker(enum memory memory, size_t bytes)
{
	struct worker *worker = &workers[memory];
	char kind[16], size[32], *argv[] = { (char[]){ "bench_fork" }, (char[]){ "--worker" }, kind, size, NULL };
	odf_spawn_options spawn = ODF_SPAWN_OPTIONS_INIT;
	int ends[2], error;

	snprintf(kind, sizeof kind, "%d", (int)memory);
	snprintf(size, sizeof size, "%zu", bytes);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		die("socketpair");
	spawn.fds = (odf_fd_action[]){ ODF_FD_DUP(0, ends[1]) };
	spawn.fd_count = 1;
	spawn.parent_death_signal = SIGKILL;
	error = odf_spawn(&worker->pid, "/proc/self/exe", argv, NULL, &spawn, NULL);
	if (error != 0) {
		errno = error;
		die("worker");
	}
	close(ends[1]);
	worker->fd = ends[0];
	if (!hear(worker, NULL))
		stop_worker(memory); /* the worker has printed the reason */
}

/* The median rest of the region, at most 50 ms: where the region settles for longer, the caches of the others are as
 * cold after a shorter sleep. */
static double rest_us(const struct entry *entry)
{
	const struct series *region = &entry->of[REGION];
	double *rests = calloc(region->count + 1, sizeof *rests), median;

	if (rests == NULL)
		die("memory");
	for (size_t i = 0; i < region->count; i++)
		rests[i] = region->samples[i].rest_us;
	median = quantile(rests, region->count + (region->count == 0), 0.5);
	free(rests);
	return median < 50000 ? median : 50000;
}

static void run_turn(struct entry *entry, size_t variant, double slice_us, size_t limit)
{
	struct job job = { .cell = entry->cell, .slice_us = slice_us, .limit = limit };
	struct worker *worker = &workers[variants[variant].memory];

	job.from_rest = variant != REGION_NEXT && variant != EMPTY_NEXT && entry->cell.experiment != STEADY &&
			entry->cell.experiment != CLOSE && entry->cell.experiment != AFTER &&
			entry->cell.experiment != ALIVE;
	job.rest_us = rest_us(entry);
	if (!send_all(worker->fd, &job, sizeof job) || !hear(worker, &entry->of[variant])) {
		fprintf(stderr, "fork: the worker of %s failed in %s\n", variant_names[variant],
			experiment_names[entry->cell.experiment]);
		exit(1);
	}
}

static void swap(size_t *a, size_t *b)
{
	size_t kept = *a;
	*a = *b;
	*b = kept;
}

/* Runs the turns of one pass for each variant whose worker is running. */
static void run_entry(struct entry *entry, unsigned pass, unsigned passes)
{
	const struct plan *plan = plan_of(entry->cell.experiment);
	unsigned first = plan->turns * pass / passes, last = plan->turns * (pass + 1) / passes;
	size_t order[VARIANTS], count = 0;
	double begin = now_us();

	for (size_t v = 0; v < VARIANTS; v++)
		if (workers[variants[v].memory].pid != 0 && (variants[v].experiments & IN(entry->cell.experiment)) != 0)
			order[count++] = v;
	for (unsigned turn = first; turn < last && (turn == first || now_us() - begin < long_turns_us); turn++) {
		bool rest_known = entry->of[REGION].count > 0;
		for (size_t i = count; i-- > 1;)
			swap(&order[i], &order[(size_t)rand() % (i + 1)]);
		for (size_t i = 0; i < count && !rest_known; i++)
			if (order[i] == REGION)
				swap(&order[i], &order[0]);
		for (size_t i = 0; i < count; i++)
			run_turn(entry, order[i], plan->budget_ms * 1e3 / plan->turns,
				 (plan->limit + plan->turns - 1) / plan->turns);
	}
}

static void run_entries(unsigned pass, unsigned passes)
{
	for (size_t e = 0; e < entry_count; e++)
		run_entry(&entries[e], pass, passes);
}

/* ---- The whole --------------------------------------------------------------------------------------------------- */

enum { BIG = NO_MEMORY }; /* the number of kinds that take memory */

/* All workers together, in two passes with new workers: the cost of a fork depends on which page frames a worker
 * happens to get. */
static void run_together(size_t bytes)
{
	enum { PASSES = 2 };

	for (unsigned pass = 0; pass < PASSES; pass++) {
		for (int i = 0; i < MEMORIES; i++)
			start_worker(pass == 0 ? i : MEMORIES - 1 - i, bytes);
		run_entries(pass, PASSES);
		for (int memory = 0; memory < MEMORIES; memory++)
			stop_worker(memory);
	}
}

/* In one pass, as it takes long to fill so much memory. The worker without memory runs beside each other one. The
 * region comes first, because its rests set those of the others. */
static void run_one_at_a_time(size_t bytes)
{
	start_worker(NO_MEMORY, bytes);
	for (int memory = BIG; memory-- > 0;) {
		start_worker(memory, bytes);
		run_entries(0, 1);
		stop_worker(memory);
	}
	stop_worker(NO_MEMORY);
}

/* Runs those of the wanted experiments for which there is enough memory. */
static void run_size(size_t bytes, unsigned wanted)
{
	size_t available = memory_available().bytes, beyond = 0, mib = bytes >> 20;
	unsigned possible = 0;

	entry_count = 0;
	for (int experiment = 0; experiment < EXPERIMENTS; experiment++) {
		size_t more = need_beyond(experiment, bytes);
		if ((wanted & IN(experiment)) == 0)
			continue;
		if (bytes + more > available) {
			fprintf(stderr, "fork: %zu MiB: %s left out, it needs %zu MiB and %zu are available\n", mib,
				experiment_names[experiment], (bytes + more) >> 20, available >> 20);
			continue;
		}
		possible |= IN(experiment);
		beyond = more > beyond ? more : beyond;
		add_cells(experiment, bytes);
	}
	if (possible == 0)
		return;
	fprintf(stderr, "%zu MiB\n", mib);
	if (BIG * bytes + beyond <= available)
		run_together(bytes);
	else
		run_one_at_a_time(bytes);
	for (int experiment = 0; experiment < EXPERIMENTS; experiment++)
		if ((possible & IN(experiment)) != 0)
			print_table(options.csv, options.note, experiment, mib, entries, entry_count);
	for (size_t e = 0; e < entry_count; e++)
		for (size_t v = 0; v < VARIANTS; v++)
			free(entries[e].of[v].samples);
}

static unsigned experiments_named(const char *text)
{
	unsigned named = 0;

	while (*text != 0) {
		size_t length = strcspn(text, ","), experiment = 0;
		while (experiment < EXPERIMENTS && (strlen(experiment_names[experiment]) != length ||
						    strncmp(experiment_names[experiment], text, length) != 0))
			experiment++;
		if (experiment == EXPERIMENTS)
			usage();
		named |= IN(experiment);
		text += length + (text[length] == ',');
	}
	return named;
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "sizes", required_argument, NULL, 's' }, { "only", required_argument, NULL, 'o' },
		{ "child", required_argument, NULL, 'c' }, { "parent", required_argument, NULL, 'p' },
		{ "quick", no_argument, NULL, 'q' },       { "csv", required_argument, NULL, 'f' },
		{ "note", required_argument, NULL, 'n' },  { 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 's':
			options.sizes = optarg;
			break;
		case 'o':
			options.selected = experiments_named(optarg);
			break;
		case 'c':
			options.child = optarg;
			break;
		case 'p':
			options.parent = optarg;
			break;
		case 'q':
			options.quick = true;
			break;
		case 'f':
			options.csv = optarg;
			break;
		case 'n':
			options.note = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
}

int main(int argc, char **argv)
{
	struct list sizes[EXPERIMENTS];
	double before = 0;

	if (argc == 4 && strcmp(argv[1], "--worker") == 0)
		return work((enum memory)atoi(argv[2]), strtoul(argv[3], NULL, 10));
	read_options(argc, argv);
	for (int experiment = 0; experiment < EXPERIMENTS; experiment++)
		sizes[experiment] = sizes_of(experiment);
	/* The sizes of all experiments, ascending, so that memory is filled once for each size. */
	for (;;) {
		double size = 0;
		unsigned wanted = 0;
		for (int experiment = 0; experiment < EXPERIMENTS; experiment++)
			for (size_t i = 0; i < sizes[experiment].count && (options.selected & IN(experiment)) != 0; i++)
				if (sizes[experiment].item[i] > before &&
				    (size == 0 || sizes[experiment].item[i] < size))
					size = sizes[experiment].item[i];
		if (size == 0)
			break;
		for (int experiment = 0; experiment < EXPERIMENTS; experiment++)
			if ((options.selected & IN(experiment)) != 0 && holds(&sizes[experiment], size))
				wanted |= IN(experiment);
		run_size((size_t)size, wanted);
		before = size;
	}
	return 0;
}
