/* SPDX-License-Identifier: MIT
 *
 * fork [OPTION...]: what a fork costs a process that holds much memory: the call, the faults after it, the whole job of
 * the child, and forks without end. For memory on 4 KiB pages (p4k), on 2 MiB pages (p2m), in a region that is LIVE at
 * each fork (region), in a region that is forked again at once (region_next), and for a process that has none (empty,
 * empty_next), which is the limit. What is not named so begins each round with a rest, as long as that in which the
 * region becomes LIVE; it is not counted.
 *
 *   --sizes LIST      amounts of memory: 64M,1G or MiB; without it each experiment has its own
 *   --only LIST       of held, mix, steady, close, after, alive, fault, sparse
 *   --child LIST      mix: percentages of the pages that the child touches
 *   --parent LIST     mix, steady: percentages that the parent writes between forks; steady leaves out 0
 *   --quick           less of everything, within 40 seconds
 *   --csv PREFIX      writes PREFIX-held.csv, PREFIX-mix.csv..., else to standard output
 *   --note TEXT       the first line of each file
 *
 * Each kind of memory is in a worker process of its own (fork_worker.h). They take turns, in changing order, so that a
 * machine whose speed drifts does so for all; where not all fit into memory beside each other, they come one after the
 * other. Times are of CLOCK_MONOTONIC, in microseconds.
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
#include "fork_tables.h"
#include "odfork.h"

#define IN(experiment) (1u << (experiment))
#define LENGTH(array)  (sizeof(array) / sizeof *(array))

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

/* How much of an experiment is done: on each variant of a cell for about `budget_ms`, in so many turns. */
struct plan {
	const char *sizes;
	unsigned budget_ms, turns;
	size_t limit; /* rounds in all */
};

static const struct plan full[EXPERIMENTS] = {
	[HELD] = { "64M,128M,256M,512M,1G,2G,4G,8G,16G", 3000, 10, 1000 },
	[MIX] = { "64M,256M,1G,4G", 300, 4, 60 },
	[STEADY] = { "1G", 5000, 4, 20000 },
	[CLOSE] = { "1G", 60000, 6, 180 },
	[AFTER] = { "512M", 30000, 4, 40 },
	[ALIVE] = { "512M", 30000, 2, 60 },
	[FAULT] = { "1G", 1500, 4, 100000 },
	[SPARSE] = { "64M,256M,1G", 300, 4, 60 },
}, quick[EXPERIMENTS] = {
	[HELD] = { "64M,256M,1G", 300, 4, 200 },
	[MIX] = { "256M", 60, 2, 30 },
	[STEADY] = { "1G", 1200, 2, 2000 },
	[CLOSE] = { "1G", 20000, 2, 60 },
	[AFTER] = { "512M", 1000, 2, 10 },
	[ALIVE] = { "512M", 1000, 1, 10 },
	[FAULT] = { "256M", 150, 2, 10000 },
	[SPARSE] = { "256M", 60, 2, 20 },
};

/* Where a pass over a cell takes longer than this, as with a child that writes gibibytes, it is one turn. */
static const double long_turns_us = 10e6;

static struct {
	bool quick;
	unsigned selected;
	const char *sizes, *child, *parent, *csv, *note;
} options = { .selected = IN(EXPERIMENTS) - 1, .note = "bench/fork" };

static const struct plan *plan_of(enum experiment experiment)
{
	return options.quick ? &quick[experiment] : &full[experiment];
}

static void die(const char *what)
{
	fprintf(stderr, "fork: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void usage(void)
{
	fprintf(stderr,
		"usage: fork [--sizes LIST] [--only held,mix,steady,close,after,alive,fault,sparse] [--child LIST] "
		"[--parent LIST] [--quick] [--csv PREFIX] [--note TEXT]\n");
	exit(2);
}

/* ---- Lists ------------------------------------------------------------------------------------------------------- */

enum { MOST = 64 };

struct list {
	size_t count;
	double item[MOST];
};

/* Numbers with commas between them; with `bytes` of MiB, or with K, M or G after them. */
static struct list numbers(const char *text, bool bytes)
{
	struct list list = { 0 };

	while (*text != 0) {
		char *end;
		double number = strtod(text, &end), unit = bytes ? 1 << 20 : 1;
		if (bytes && *end != 0 && strchr("KMG", *end) != NULL)
			unit = (double)(1u << (*end == 'K' ? 10 : *end == 'M' ? 20 : 30)), end++;
		if (end == text || number < 0 || (*end != 0 && *end != ',') || list.count == MOST)
			usage();
		list.item[list.count++] = number * unit;
		text = *end == ',' ? end + 1 : end;
	}
	return list;
}

static double largest(const struct list *list)
{
	double most = 0;
	for (size_t i = 0; i < list->count; i++)
		most = list->item[i] > most ? list->item[i] : most;
	return most;
}

static bool holds(const struct list *list, double number)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->item[i] == number)
			return true;
	return false;
}

static struct list sizes_of(enum experiment experiment)
{
	return numbers(options.sizes != NULL ? options.sizes : plan_of(experiment)->sizes, true);
}

static struct list child_percents(void)
{
	return numbers(options.child != NULL ? options.child : options.quick ? "0,10,100" : "0,1,10,50,100", false);
}

static struct list parent_percents(enum experiment experiment)
{
	if (options.parent != NULL)
		return numbers(options.parent, false);
	if (experiment == STEADY)
		return numbers(options.quick ? "1" : "0.1,1,10", false);
	return numbers(options.quick ? "0,1" : "0,1,10", false);
}

/* What an experiment needs beyond one or more times the memory itself: copies that child and parent make, page tables,
 * and room for the rest. */
static size_t need_beyond(enum experiment experiment, size_t bytes)
{
	struct list child = child_percents(), parent = parent_percents(experiment);
	double percent = experiment == AFTER    ? 100
			 : experiment == ALIVE  ? 150
			 : experiment == MIX    ? largest(&child) + largest(&parent)
			 : experiment == STEADY ? largest(&parent)
						: 2;

	return (size_t)((double)bytes * percent / 100) + bytes / 64 + (256u << 20);
}

/* ---- Cells and their samples ------------------------------------------------------------------------------------- */

static struct entry *entries;
static size_t entry_count;

static void add(struct cell cell)
{
	entries = reallocarray(entries, entry_count + 1, sizeof *entries);
	if (entries == NULL)
		die("memory");
	memset(&entries[entry_count], 0, sizeof *entries);
	entries[entry_count].cell = cell;
	for (size_t v = 0; v < VARIANTS; v++)
		entries[entry_count].of[v].huge_percent = entries[entry_count].of[v].settling = -1;
	entry_count++;
}

static void add_mixes(void)
{
	struct list child = child_percents(), parent = parent_percents(MIX);

	for (size_t p = 0; p < parent.count; p++) {
		for (size_t c = 0; c < child.count; c++) {
			struct cell cell = {
				.experiment = MIX, .parent_percent = parent.item[p], .child_percent = child.item[c],
			};
			add(cell);
			cell.writes = true;
			if (cell.child_percent > 0)
				add(cell);
		}
	}
	/* In order, for comparison: two amounts, and a parent that writes nothing. */
	for (size_t c = 0; c < child.count && !options.quick; c++) {
		struct cell cell = { .experiment = MIX, .child_percent = child.item[c], .in_order = true };
		if (cell.child_percent != 10 && cell.child_percent != 100)
			continue;
		add(cell);
		cell.writes = true;
		add(cell);
	}
}

static void add_steady(void)
{
	struct list parent = parent_percents(STEADY);

	for (size_t p = 0; p < parent.count; p++) {
		struct cell cell = { .experiment = STEADY, .parent_percent = parent.item[p] };
		if (cell.parent_percent == 0)
			continue;
		add(cell);
		cell.lives_us = 5000;
		if (!options.quick)
			add(cell);
	}
}

/* So many rounds from the beginning on, each without a rest. */
static void add_close(size_t bytes)
{
	enum { READ = 2000 };

	add((struct cell){ .experiment = CLOSE, .parent_percent = 1,
			   .child_percent = 100.0 * (double)READ / (double)(bytes / PAGE) });
}

static void add_after(void)
{
	static const unsigned lives_us[] = { 0, 5000, 20000 };

	for (size_t writes = 0; writes < 2; writes++)
		for (size_t i = 0; i < LENGTH(lives_us); i++)
			add((struct cell){ .experiment = AFTER, .parent_percent = 100, .writes = writes == 1,
					   .lives_us = lives_us[i] });
}

static void add_alive(void)
{
	static const size_t alive[] = { 1, 8, 32, 128 };

	for (size_t i = 0; i < LENGTH(alive); i++)
		add((struct cell){ .experiment = ALIVE, .parent_percent = 1, .alive = alive[i] });
}

static void add_faults(size_t bytes)
{
	size_t pages = bytes / PAGE / 4 < 20000 ? bytes / PAGE / 4 : 20000;

	for (int which = 0; which < 4; which++)
		add((struct cell){ .experiment = FAULT, .in_parent = which < 2, .writes = which % 2 == 0,
				   .pages = pages });
}

static void add_sparse(size_t bytes)
{
	size_t widths[] = { PAGE, 2u << 20, 64u << 20, 256u << 20, bytes };
	size_t amounts[] = { 1, 32, 512, bytes / PAGE / 100, 8192 };

	for (size_t read = 0; read < 2; read++) {
		for (size_t w = 0; w < LENGTH(widths); w++) {
			if (w + 1 < LENGTH(widths) && widths[w] >= bytes)
				continue;
			for (size_t a = 0; a < LENGTH(amounts); a++) {
				bool wanted = !options.quick || (w % 2 == 0 && a < 2) ||
					      (widths[w] == bytes && amounts[a] == bytes / PAGE / 100);
				if (wanted && amounts[a] <= widths[w] / PAGE)
					add((struct cell){ .experiment = SPARSE, .pages = amounts[a],
							   .width = widths[w], .reads_all = read == 1 });
			}
		}
	}
}

static void add_cells(enum experiment experiment, size_t bytes)
{
	switch (experiment) {
	case HELD:
		add((struct cell){ .experiment = HELD });
		break;
	case MIX:
		add_mixes();
		break;
	case STEADY:
		add_steady();
		break;
	case CLOSE:
		add_close(bytes);
		break;
	case AFTER:
		add_after();
		break;
	case ALIVE:
		add_alive();
		break;
	case FAULT:
		add_faults(bytes);
		break;
	default:
		add_sparse(bytes);
	}
}

/* ---- Workers ----------------------------------------------------------------------------------------------------- */

static struct worker {
	pid_t pid; /* 0: none */
	int fd;
} workers[MEMORIES];

/* The worker's next reply, its samples appended to `series` (NULL: it has none to give). False if it has ended. */
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

/* A process made afresh, not a fork of this one, which holds samples by now. */
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
		stop_worker(memory); /* it has said why */
}

/* How long a region rests in the middle case; where it settles much memory, others need not sleep as long to be as
 * cold. */
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

/* The turns of one pass, of all the variants whose memory is there. */
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

enum { BIG = NO_MEMORY }; /* kinds of memory that take room */

/* All at a time, and twice: which frames of the machine's memory a worker happens to get makes some forks dearer than
 * others. */
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

/* Once, as filling so much takes its time. The process of nothing is there beside all. The region comes first, because
 * its rests set those of the others. */
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

/* Of the wanted experiments those for which there is memory are run. */
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
		{ "sizes", required_argument, NULL, 's' }, { "only", required_argument, NULL, 'o' },	{ "child",
		  required_argument, NULL, 'c' },
		{ "parent", required_argument, NULL, 'p' }, { "quick", no_argument, NULL, 'q' },
		  { "csv", required_argument, NULL, 'f' },
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
	/* The sizes of all experiments, upwards, so that memory is filled once per size. */
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
