/* SPDX-License-Identifier: MIT
 *
 * The measurements of odfork bench: the order of turns, and the figures. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench_workers.h"
#include "clock.h"
#include "odfork.h"

enum { PASSES = 4, MOST_ROUNDS = 5000 };

/* The longest time for which one cell is measured on one way, in all its turns: more would not make medians
 * steadier. */
static const double most_us = 1e6;

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

/* Sorted; the caller frees it. NULL: there are no values, or no memory. */
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

/* Progress: cells measured, of so many. */
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
	if (!send_all(bench_workers[worker].fd, &job, sizeof job))
		heard = GONE;
	else
		heard = bench_hear(&bench_workers[worker], series);
	if (heard == GONE)
		bench_say_end(worker);
	return heard;
}

static void swap(enum bench_way *a, enum bench_way *b)
{
	enum bench_way kept = *a;
	*a = *b;
	*b = kept;
}

/* A worker without a region rests for as long as the region takes to become LIVE, as a core that slept forks more
 * slowly. So the worker with the region, if there is one, has the first turn. */
static double rest_us(const struct series series[BENCH_FORK_WAYS])
{
	double rest = mean_of(&series[BENCH_REGION], REST_US);
	return rest < 50000 ? rest : 50000;
}

/* All turns of one kind of round, on the given ways. */
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

/* All kinds of rounds with forks; the ways take turns. Adds rows for all ways (`first`), or for BENCH_HUGE only. */
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

/* The process that holds plain memory starts the programs. */
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

/* A way that does not work on this machine is left out. Without the plain way there is nothing to compare with. */
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
		heard = bench_start_worker(way, bytes);
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

/* Huge pages: together with the others if there is memory for that, else with plain memory alone. */
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
		heard = bench_start_worker(BENCH_HUGE, bytes);
		if (heard != HEARD)
			return heard;
		ways[count++] = BENCH_HUGE;
	}
	heard = run_forks(bench, bytes, ways, count, true);
	if (heard == HEARD && bench->with_spawn)
		heard = run_spawns(bench, bytes);
	if (heard != HEARD || beside || bench_asked != 0)
		return bench_asked != 0 ? ASKED : heard;
	for (enum bench_way way = BENCH_REGION; way < BENCH_FORK_WAYS; way++)
		bench_stop_worker(way);
	if (!bench_fits_with_one_more(bytes)) {
		bench_note(bench, "%s: left out with %s: there is no memory for it beside", bench_way_text(BENCH_HUGE),
			   bench_amount(amount, bytes));
		return HEARD;
	}
	show(bench, bytes, "filling the memory");
	heard = bench_start_worker(BENCH_HUGE, bytes);
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
	bench_take_signals();
	for (size_t i = 0; i < bench->size_count && heard == HEARD && bench_asked == 0; i++) {
		heard = run_size(bench, bench->sizes[i]);
		for (enum bench_way way = 0; way < BENCH_FORK_WAYS && heard == HEARD; way++)
			bench_stop_worker(way);
	}
	bench_end_all();
	show_end(bench);
	bench_give_signals_back();
	if (bench_asked != 0)
		return -bench_asked;
	compare_rows(bench);
	return heard == HEARD ? 0 : 1;
}
