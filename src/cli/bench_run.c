/* SPDX-License-Identifier: MIT
 *
 * The measuring of odfork bench: workers, their turns, and what ends them.
 *
 * Each worker is the leader of a process group of its own, so that the terminal's interrupt reaches only this process,
 * and a kill of the group reaches the worker's children as well. This process takes orphans in, so that it can wait
 * until all of them are gone. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "clock.h"
#include "odfork.h"

enum { PASSES = 4, MOST_ROUNDS = 5000 };

static const enum memory memory_of[BENCH_FORK_WAYS] = {
	[BENCH_PLAIN] = SMALL_PAGES,
	[BENCH_REGION] = IN_REGION,
	[BENCH_KERNEL] = BY_KERNEL,
	[BENCH_HUGE] = HUGE_PAGES,
};

/* At most so long is one cell measured on one way, in all its turns: more would make medians no steadier. */
static const double most_us = 1e6;

static struct worker {
	pid_t pid; /* 0: none */
	int fd;
} workers[BENCH_FORK_WAYS];

struct series {
	struct sample *samples;
	size_t count;
	int huge_percent, settling; /* as the worker said last */
};

/* ---- The end, by a signal -------------------------------------------------------------------------------------- */

static const int ending[] = { SIGINT, SIGTERM, SIGHUP };
enum { ENDING = sizeof ending / sizeof *ending };

static volatile sig_atomic_t asked; /* the signal that asks for the end; 0: none */
static sigset_t mask_found;
static struct sigaction found[ENDING];

static void on_signal(int number)
{
	asked = number;
}

/* They are blocked but where this process waits (wait_for_answer), so none comes between the question and the wait. A
 * signal that is ignored, as by nohup, stays ignored. */
static void take_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t mask;

	sigemptyset(&mask);
	for (int i = 0; i < ENDING; i++)
		sigaddset(&mask, ending[i]);
	sigprocmask(SIG_BLOCK, &mask, &mask_found);
	for (int i = 0; i < ENDING; i++)
		if (sigaction(ending[i], NULL, &found[i]) == 0 && found[i].sa_handler != SIG_IGN)
			sigaction(ending[i], &action, NULL);
}

static void give_signals_back(void)
{
	for (int i = 0; i < ENDING; i++)
		sigaction(ending[i], &found[i], NULL);
	sigprocmask(SIG_SETMASK, &mask_found, NULL);
}

/* The end of all that was started, whatever it is doing, and of its children, which are in its group. */
static void end_all(void)
{
	for (size_t way = 0; way < BENCH_FORK_WAYS; way++) {
		if (workers[way].pid == 0)
			continue;
		kill(-workers[way].pid, SIGKILL);
		close(workers[way].fd);
		workers[way].pid = 0;
	}
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		;
}

/* ---- Workers --------------------------------------------------------------------------------------------------- */

enum heard { HEARD, GONE, ASKED };

static enum heard wait_for_answer(int fd)
{
	struct pollfd answer = { .fd = fd, .events = POLLIN };
	sigset_t open = mask_found;

	for (int i = 0; i < ENDING; i++)
		sigdelset(&open, ending[i]);
	while (asked == 0) {
		if (ppoll(&answer, 1, NULL, &open) > 0)
			return HEARD;
		if (errno != EINTR)
			return GONE;
	}
	return ASKED;
}

/* A reply's samples are appended to the series (NULL: there are none). */
static enum heard hear(struct worker *worker, struct series *series)
{
	enum heard heard = wait_for_answer(worker->fd);
	struct reply reply;

	if (heard != HEARD)
		return heard;
	if (!receive(worker->fd, &reply, sizeof reply))
		return GONE;
	if (reply.count == 0 || series == NULL)
		return reply.count == 0 ? HEARD : GONE;
	series->samples = reallocarray(series->samples, series->count + reply.count, sizeof *series->samples);
	if (series->samples == NULL)
		return GONE;
	if (!receive(worker->fd, series->samples + series->count, reply.count * sizeof *series->samples))
		return GONE;
	series->count += reply.count;
	series->huge_percent = reply.huge_percent;
	series->settling = reply.settling;
	return HEARD;
}

/* How a worker ended that should not have. It has said why, unless it was killed. */
static void say_end(enum bench_way way)
{
	int status = 0;

	if (waitpid(workers[way].pid, &status, 0) == workers[way].pid && WIFSIGNALED(status))
		fprintf(stderr, "odfork: bench: the process with the memory (%s) was killed by %s%s\n",
			bench_way_text(way), strsignal(WTERMSIG(status)),
			WTERMSIG(status) == SIGKILL ? ", as the kernel does when memory runs out" : "");
	else
		fprintf(stderr, "odfork: bench: the process with the memory (%s) has ended\n", bench_way_text(way));
	close(workers[way].fd);
	workers[way].pid = 0;
}

static enum heard start_worker(enum bench_way way, size_t bytes)
{
	struct worker *worker = &workers[way];
	char kind[16], size[32];
	char *argv[] = { (char[]){ "odfork" }, (char[]){ "bench" }, (char[]){ "--worker" }, kind, size, NULL };
	/* What is plain must be so, also where this command was started under the library. */
	const char *const environment[] = { "LD_PRELOAD", "ODFORK_FOLLOW", "ODFORK_HEAP",    "ODFORK_LD_PRELOAD",
					    "ODFORK_LOG", "ODFORK_STATS",  "ODFORK_STRATEGY" };
	odf_spawn_options spawn = ODF_SPAWN_OPTIONS_INIT;
	int ends[2], error;
	enum heard heard;

	snprintf(kind, sizeof kind, "%d", (int)memory_of[way]);
	snprintf(size, sizeof size, "%zu", bytes);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		perror("odfork: bench: socketpair");
		return GONE;
	}
	spawn.fds = (odf_fd_action[]){ ODF_FD_DUP(0, ends[1]) };
	spawn.fd_count = 1;
	spawn.parent_death_signal = SIGKILL;
	spawn.flags = ODF_SPAWN_SETPGROUP | ODF_SPAWN_SIGMASK;
	spawn.sigmask = mask_found;
	spawn.env_edits = environment;
	spawn.env_edit_count = sizeof environment / sizeof *environment;
	error = odf_spawn(&worker->pid, "/proc/self/exe", argv, NULL, &spawn, NULL);
	close(ends[1]);
	if (error != 0) {
		fprintf(stderr, "odfork: bench: cannot start a process for the memory: %s\n", strerror(error));
		close(ends[0]);
		worker->pid = 0;
		return GONE;
	}
	worker->fd = ends[0];
	heard = hear(worker, NULL);
	if (heard == GONE)
		say_end(way);
	return heard;
}

static void stop_worker(enum bench_way way)
{
	struct worker *worker = &workers[way];

	if (worker->pid == 0)
		return;
	close(worker->fd);
	while (waitpid(worker->pid, NULL, 0) < 0 && errno == EINTR)
		;
	worker->pid = 0;
}

/* ---- Figures --------------------------------------------------------------------------------------------------- */

enum field { HELD_US, TOTAL_US, ROUND_US, REST_US };

static double value_of(const struct sample *sample, enum field field)
{
	switch (field) {
	case HELD_US:
		return sample->held_us;
	case TOTAL_US:
		return sample->total_us;
	case ROUND_US:
		return sample->parent_us + sample->total_us;
	default:
		return sample->rest_us;
	}
}

/* Sorted; NULL: there are none, or there is no memory for them. The caller's to free. */
static double *values_of(const struct series *series, enum field field)
{
	double *values = calloc(series->count, sizeof *values);

	if (values == NULL || series->count == 0) {
		free(values);
		return NULL;
	}
	for (size_t i = 0; i < series->count; i++)
		values[i] = value_of(&series->samples[i], field);
	qsort(values, series->count, sizeof *values, compare_samples);
	return values;
}

static double mean_of(const struct series *series, enum field field)
{
	double sum = 0;

	for (size_t i = 0; i < series->count; i++)
		sum += value_of(&series->samples[i], field);
	return series->count > 0 ? sum / (double)series->count : 0;
}

static void add_row(struct bench *bench, size_t bytes, enum bench_what what, enum bench_way way,
		    const struct series *series)
{
	double *values = values_of(series, what == BENCH_READS ? TOTAL_US : HELD_US), round = mean_of(series, ROUND_US);
	struct bench_row *row = &bench->rows[bench->row_count];
	size_t count = series->count;
	char amount[32];

	if (way == BENCH_HUGE && count > 0 && series->huge_percent < 90) {
		if (what == BENCH_FIRST)
			bench_note(bench, "%s: left out with %s: the kernel gave %d %% of the memory so",
				   bench_way_text(way), bench_amount(amount, bytes), series->huge_percent);
		count = 0;
	}
	if (way == BENCH_REGION && what == BENCH_FIRST && series->settling == ODF_REGION_SETTLES_AT_FORK)
		bench_note(bench,
			   "%s, %s: settled by forks and calls, as the keeper may not do it (odfork probe: uffd)",
			   bench_way_text(way), bench_amount(amount, bytes));
	if (count == 0 || values == NULL || bench->row_count == BENCH_ROWS) {
		free(values);
		return;
	}
	*row = (struct bench_row){ .bytes = bytes, .what = what, .way = way, .count = count, .least = values[0] };
	row->median = quantile(values, count, 0.5);
	row->low = quantile(values, count, 0.25);
	row->high = quantile(values, count, 0.75);
	row->p99 = quantile(values, count, 0.99);
	row->per_second = what == BENCH_ENDLESS && round > 0 ? 1e6 / round : 0;
	bench->row_count++;
	free(values);
}

static void compare_rows(struct bench *bench)
{
	for (size_t r = 0; r < bench->row_count; r++) {
		struct bench_row *row = &bench->rows[r];
		enum bench_way plain = row->what == BENCH_SPAWN ? BENCH_SPAWNS + SPAWN_BY_FORK : BENCH_PLAIN;
		const struct bench_row *other = bench_find(bench, row->bytes, row->what, plain);
		row->times = other != NULL && row->median > 0 ? other->median / row->median : 0;
	}
}

/* ---- Turns ----------------------------------------------------------------------------------------------------- */

/* How far it is: cells of so many have been measured. */
static size_t cells_done, cells_in_all;
static double began_us;

static void show(const struct bench *bench, size_t bytes, const char *text)
{
	bool terminal = isatty(STDERR_FILENO);
	char amount[32];

	if (bench->progress)
		fprintf(stderr, "%s[%3.0f s, %3zu %%] %s: %s%s", terminal ? "\r\033[K" : "",
			(now_us() - began_us) / 1e6, cells_in_all > 0 ? cells_done * 100 / cells_in_all : 0,
			bench_amount(amount, bytes), text, terminal ? "" : "\n");
}

static void show_end(const struct bench *bench)
{
	if (bench->progress && isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static struct cell cell_of(enum bench_what what)
{
	switch (what) {
	case BENCH_ENDLESS:
		return (struct cell){ .experiment = STEADY, .parent_percent = 1 };
	case BENCH_READS:
		return (struct cell){ .experiment = MIX, .child_percent = 1 };
	case BENCH_SPAWN:
		return (struct cell){ .experiment = SPAWN };
	default:
		return (struct cell){ .experiment = HELD };
	}
}

static double slice_us(const struct bench *bench)
{
	double each = bench->seconds * 1e6 / (double)cells_in_all;
	return (each < most_us ? each : most_us) / (double)PASSES;
}

/* One turn. */
static enum heard turn(const struct bench *bench, enum bench_way worker, const struct cell *cell, double rest_us,
		       struct series *series)
{
	struct job job = { .cell = *cell, .slice_us = slice_us(bench), .limit = MOST_ROUNDS / PASSES };
	enum heard heard;

	job.from_rest = cell->experiment == HELD || cell->experiment == MIX;
	job.rest_us = rest_us;
	if (cell->experiment == SPAWN)
		job.slice_us /= 2;
	if (!send_all(workers[worker].fd, &job, sizeof job))
		heard = GONE;
	else
		heard = hear(&workers[worker], series);
	if (heard == GONE)
		say_end(worker);
	return heard;
}

static void swap(enum bench_way *a, enum bench_way *b)
{
	enum bench_way kept = *a;
	*a = *b;
	*b = kept;
}

/* What is not in a region rests as long as the region takes to become LIVE: a core that slept forks slower. So the
 * region, if it is among them, has the first turn of all. */
static double rest_us(const struct series series[BENCH_FORK_WAYS])
{
	double rest = mean_of(&series[BENCH_REGION], REST_US);
	return rest < 50000 ? rest : 50000;
}

/* All turns of one kind of round on the ways that are named. */
static enum heard measure_forks(struct bench *bench, size_t bytes, enum bench_what what, const enum bench_way *ways,
				size_t count, struct series series[BENCH_FORK_WAYS])
{
	enum bench_way order[BENCH_FORK_WAYS];
	struct cell cell = cell_of(what);
	bool terminal = isatty(STDERR_FILENO);

	memcpy(order, ways, count * sizeof *ways);
	for (unsigned pass = 0; pass < PASSES; pass++) {
		for (size_t i = count; i-- > 1;)
			swap(&order[i], &order[(size_t)rand() % (i + 1)]);
		for (size_t i = 0; i < count && pass == 0; i++)
			if (order[i] == BENCH_REGION)
				swap(&order[i], &order[0]);
		for (size_t i = 0; i < count; i++) {
			char text[128];
			enum heard heard;
			snprintf(text, sizeof text, "%s: %s", bench_what_titles[what], bench_way_text(order[i]));
			if (pass == 0 || terminal)
				show(bench, bytes, text);
			heard = turn(bench, order[i], &cell, rest_us(series), &series[order[i]]);
			if (heard != HEARD)
				return heard;
		}
	}
	cells_done += count;
	return HEARD;
}

/* The ways take turns; rows of those that are new. `series` of BENCH_REGION is handed on for its rests. */
static enum heard run_forks(struct bench *bench, size_t bytes, const enum bench_way *ways, size_t count, bool first)
{
	enum heard heard = HEARD;

	for (enum bench_what what = BENCH_FIRST; what < BENCH_SPAWN && heard == HEARD; what++) {
		struct series series[BENCH_FORK_WAYS] = { 0 };
		heard = measure_forks(bench, bytes, what, ways, count, series);
		for (enum bench_way way = 0; way < BENCH_FORK_WAYS; way++) {
			if (heard == HEARD && (first || way == BENCH_HUGE))
				add_row(bench, bytes, what, way, &series[way]);
			free(series[way].samples);
		}
	}
	return heard;
}

/* Programs are started by the process that holds plain memory. */
static enum heard run_spawns(struct bench *bench, size_t bytes)
{
	struct series series[SPAWN_WAYS] = { 0 };
	struct cell cell = cell_of(BENCH_SPAWN);
	enum heard heard = HEARD;

	for (unsigned step = 0; step < PASSES * SPAWN_WAYS && heard == HEARD; step++) {
		char text[128];
		cell.spawn_way = (step + step / SPAWN_WAYS) % SPAWN_WAYS;
		if (!bench->with_pool && (cell.spawn_way == SPAWN_BY_POOL || cell.spawn_way == SPAWN_BY_POOL_NO_WAIT))
			continue;
		snprintf(text, sizeof text, "%s: %s", bench_what_titles[BENCH_SPAWN], spawn_ways[cell.spawn_way].name);
		if (step < SPAWN_WAYS || isatty(STDERR_FILENO))
			show(bench, bytes, text);
		heard = turn(bench, BENCH_PLAIN, &cell, 0, &series[cell.spawn_way]);
	}
	cells_done += SPAWN_WAYS / 2;
	for (enum bench_way way = BENCH_SPAWNS; way < BENCH_WAYS; way++) {
		if (heard == HEARD)
			add_row(bench, bytes, BENCH_SPAWN, way, &series[way - BENCH_SPAWNS]);
		free(series[way - BENCH_SPAWNS].samples);
	}
	return heard;
}

/* A way that cannot be had here is left out; without the plain one there is nothing to compare with. */
static enum heard start_ways(struct bench *bench, size_t bytes, enum bench_way *ways, size_t *count)
{
	const bool wanted[BENCH_FORK_WAYS] = {
		[BENCH_PLAIN] = true, [BENCH_REGION] = bench->with_region, [BENCH_KERNEL] = bench->with_kernel
	};
	char amount[32];

	*count = 0;
	for (enum bench_way way = 0; way < BENCH_HUGE; way++) {
		enum heard heard;
		if (!wanted[way])
			continue;
		show(bench, bytes, "filling the memory");
		heard = start_worker(way, bytes);
		if (heard == ASKED || (heard == GONE && way == BENCH_PLAIN))
			return heard;
		if (heard == GONE)
			bench_note(bench, "%s: left out with %s: it could not be had", bench_way_text(way),
				   bench_amount(amount, bytes));
		else
			ways[(*count)++] = way;
	}
	return HEARD;
}

/* Huge pages: beside the others where there is memory for that, else with plain memory alone. */
static enum heard run_size(struct bench *bench, size_t bytes)
{
	enum bench_way ways[BENCH_FORK_WAYS];
	char amount[32];
	size_t count;
	bool beside;
	enum heard heard = start_ways(bench, bytes, ways, &count);

	if (heard != HEARD)
		return heard;
	beside = bench_fits_with_one_more(bytes);
	if (beside) {
		heard = start_worker(BENCH_HUGE, bytes);
		if (heard != HEARD)
			return heard;
		ways[count++] = BENCH_HUGE;
	}
	heard = run_forks(bench, bytes, ways, count, true);
	if (heard == HEARD && bench->with_spawn)
		heard = run_spawns(bench, bytes);
	if (heard != HEARD || beside || asked != 0)
		return asked != 0 ? ASKED : heard;
	for (enum bench_way way = BENCH_REGION; way < BENCH_FORK_WAYS; way++)
		stop_worker(way);
	if (!bench_fits_with_one_more(bytes)) {
		bench_note(bench, "%s: left out with %s: there is no memory for it beside", bench_way_text(BENCH_HUGE),
			   bench_amount(amount, bytes));
		return HEARD;
	}
	show(bench, bytes, "filling the memory");
	heard = start_worker(BENCH_HUGE, bytes);
	if (heard == HEARD)
		heard = run_forks(bench, bytes, (enum bench_way[]){ BENCH_PLAIN, BENCH_HUGE }, 2, false);
	return heard;
}

int bench_run(struct bench *bench)
{
	enum heard heard = HEARD;

	began_us = now_us();
	cells_in_all =
		bench->size_count * ((2u + bench->with_region + bench->with_kernel) * BENCH_SPAWN + SPAWN_WAYS / 2);
	cells_done = 0;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
		perror("odfork: bench: prctl");
		return 1;
	}
	take_signals();
	for (size_t i = 0; i < bench->size_count && heard == HEARD && asked == 0; i++) {
		heard = run_size(bench, bench->sizes[i]);
		for (enum bench_way way = 0; way < BENCH_FORK_WAYS && heard == HEARD; way++)
			stop_worker(way);
	}
	end_all();
	show_end(bench);
	give_signals_back();
	if (asked != 0)
		return -asked;
	compare_rows(bench);
	return heard == HEARD ? 0 : 1;
}
