/* SPDX-License-Identifier: MIT */
#include "fork_tables.h"

#include <errno.h>
#include <string.h>

#include "clock.h"
#include "odfork.h"

const char *const variant_names[VARIANTS] = { "p4k", "p2m", "region", "region_next", "empty", "empty_next" };
const char *const experiment_names[EXPERIMENTS] = {
	"held", "mix", "steady", "close", "after", "alive", "fault", "sparse",
};

static const char *const columns[EXPERIMENTS] = {
	[HELD] =
		"mib,variant,rounds,held_median_us,held_p99_us,held_min_us,reaped_median_us,reaped_p99_us,"
		"reaped_min_us,rest_median_us,not_live,state",
	[MIX] = "mib,child,order,child_percent,parent_percent,variant,rounds,total_median_us,total_min_us,"
		"held_median_us,parent_median_us,"
		"round_median_us,rest_median_us,not_live,total_to_p4k,total_to_p2m,round_to_p4k",
	[STEADY] =
		"mib,parent_percent,lives_us,variant,rounds,held_median_us,held_p99_us,held_max_us,rounds_per_s,"
		"keeper_us_per_round,p4k_to_this",
	[CLOSE] =
		"mib,parent_percent,child_percent,variant,rounds,held_median_us,held_p90_us,held_max_us,"
		"write_median_us,round_median_us,p4k_to_this",
	[AFTER] =
		"mib,parent,lives_us,variant,rounds,held_median_us,round_median_us,cpu_median_us,keeper_median_us,"
		"round_to_p4k,cpu_to_p4k",
	[ALIVE] =
		"mib,alive,parent_percent,variant,rounds,held_median_us,held_p90_us,held_max_us,write_median_us,"
		"p4k_to_this,memory_mib,memory_to_p4k",
	[FAULT] = "mib,side,access,variant,faults,median_us,mean_us,p99_us,p999_us,worst_us",
	[SPARSE] =
		"mib,parent_reads,width_kib,pages,variant,rounds,held_median_us,held_p99_us,held_min_us,"
		"write_median_us",
};

static void die(const char *what)
{
	fprintf(stderr, "fork: %s: %s\n", what, strerror(errno));
	exit(1);
}

struct figures {
	double least, median, p90, p99, p999, most, mean;
};

#define FIGURES(series, field) figures_of((series), offsetof(struct sample, field))

static double value_of(const struct sample *sample, size_t field)
{
	return *(const double *)(const void *)((const char *)sample + field);
}

static double *sorted(const struct series *series, size_t field)
{
	double *values = calloc(series->count, sizeof *values);

	if (values == NULL)
		die("memory");
	for (size_t i = 0; i < series->count; i++)
		values[i] = value_of(&series->samples[i], field);
	qsort(values, series->count, sizeof *values, compare_samples);
	return values;
}

static double at(const double *values, size_t count, double part)
{
	size_t index = (size_t)((double)count * part);
	return values[index < count ? index : count - 1];
}

static struct figures figures_of(const struct series *series, size_t field)
{
	struct figures figures = { 0 };
	double *values;

	if (series->count == 0)
		return figures;
	values = sorted(series, field);
	for (size_t i = 0; i < series->count; i++)
		figures.mean += values[i] / (double)series->count;
	figures.least = values[0];
	figures.median = at(values, series->count, 0.5);
	figures.p90 = at(values, series->count, 0.9);
	figures.p99 = at(values, series->count, 0.99);
	figures.p999 = at(values, series->count, 0.999);
	figures.most = values[series->count - 1];
	free(values);
	return figures;
}

static size_t not_live(const struct series *series)
{
	return (size_t)(FIGURES(series, not_live).mean * (double)series->count + 0.5);
}

/* The ratio as text; empty if either time is missing. */
static const char *ratio(char text[32], double this, double other)
{
	text[0] = 0;
	if (other > 0 && this > 0)
		snprintf(text, 32, "%.3f", this / other);
	return text;
}

static FILE *open_table(const char *prefix, const char *note, const char *name, const char *header)
{
	static char *begun[EXPERIMENTS + 1];
	FILE *file = stdout;
	bool first = true;
	size_t i = 0;
	char *path;

	if (prefix != NULL) {
		if (asprintf(&path, "%s-%s.csv", prefix, name) < 0)
			die("memory");
		while (begun[i] != NULL && strcmp(begun[i], path) != 0)
			i++;
		first = begun[i] == NULL;
		file = fopen(path, first ? "we" : "ae");
		if (file == NULL)
			die(path);
		if (first)
			begun[i] = path;
		else
			free(path);
	}
	if (first)
		fprintf(file, "# %s\n%s\n", note, header);
	return file;
}

static void close_table(FILE *file)
{
	if (fflush(file) != 0 || (file != stdout && fclose(file) != 0))
		die("output");
}

static const char *settling_name(int settling)
{
	switch (settling) {
	case ODF_REGION_SETTLES_ALWAYS:
		return "the keeper settles";
	case ODF_REGION_SETTLES_AT_FORK:
		return "settled at forks and by call";
	case ODF_REGION_SETTLES_BY_CALL:
		return "settled by call";
	default:
		return "never settled";
	}
}

static void print_held(FILE *file, size_t mib, const struct series *series, size_t v)
{
	struct figures held = FIGURES(series, held_us), reaped = FIGURES(series, total_us);
	char state[64] = "";

	if (series->huge_percent >= 0)
		snprintf(state, sizeof state, "%d %% in huge pages", series->huge_percent);
	else if (series->settling >= 0)
		snprintf(state, sizeof state, "%s", settling_name(series->settling));
	fprintf(file, "%zu,%s,%zu,%.1f,%.1f,%.1f,%.1f,%.1f,%.1f,%.0f,%zu,%s\n", mib, variant_names[v], series->count,
		held.median, held.p99, held.least, reaped.median, reaped.p99, reaped.least,
		FIGURES(series, rest_us).median, not_live(series), state);
}

static double round_us(const struct series *series)
{
	return FIGURES(series, parent_us).median + FIGURES(series, total_us).median;
}

static void print_mix(FILE *file, size_t mib, const struct entry *entry, size_t v)
{
	const struct cell *cell = &entry->cell;
	const struct series *series = &entry->of[v];
	struct figures total = FIGURES(series, total_us);
	char to_p4k[32], to_p2m[32], round_to_p4k[32];

	fprintf(file, "%zu,%s,%s,%g,%g,%s,%zu,%.0f,%.0f,%.1f,%.0f,%.0f,%.0f,%zu,%s,%s,%s\n", mib,
		cell->writes ? "write" : "read", cell->in_order ? "sequential" : "random", cell->child_percent,
		cell->parent_percent, variant_names[v], series->count, total.median, total.least,
		FIGURES(series, held_us).median, FIGURES(series, parent_us).median, round_us(series),
		FIGURES(series, rest_us).median, not_live(series),
		ratio(to_p4k, total.median, FIGURES(&entry->of[P4K], total_us).median),
		ratio(to_p2m, total.median, FIGURES(&entry->of[P2M], total_us).median),
		ratio(round_to_p4k, round_us(series), round_us(&entry->of[P4K])));
}

static void print_steady(FILE *file, size_t mib, const struct entry *entry, size_t v)
{
	const struct series *series = &entry->of[v];
	struct figures held = FIGURES(series, held_us);
	double round = FIGURES(series, parent_us).mean + FIGURES(series, total_us).mean;
	double keeper = FIGURES(series, keeper_us).mean; /* without a keeper: the difference of two clocks */
	char times[32];

	fprintf(file, "%zu,%g,%u,%s,%zu,%.1f,%.1f,%.1f,%.1f,%.0f,%s\n", mib, entry->cell.parent_percent,
		entry->cell.lives_us, variant_names[v], series->count, held.median, held.p99, held.most, 1e6 / round,
		keeper > 0 ? keeper : 0, ratio(times, FIGURES(&entry->of[P4K], held_us).median, held.median));
}

static void print_close(FILE *file, size_t mib, const struct entry *entry, size_t v)
{
	const struct series *series = &entry->of[v];
	struct figures held = FIGURES(series, held_us);
	char times[32];

	fprintf(file, "%zu,%g,%.2f,%s,%zu,%.1f,%.1f,%.1f,%.0f,%.0f,%s\n", mib, entry->cell.parent_percent,
		entry->cell.child_percent, variant_names[v], series->count, held.median, held.p90, held.most,
		FIGURES(series, parent_us).median, round_us(series),
		ratio(times, FIGURES(&entry->of[P4K], held_us).median, held.median));
}

static void print_after(FILE *file, size_t mib, const struct entry *entry, size_t v)
{
	const struct series *series = &entry->of[v], *plain = &entry->of[P4K];
	struct figures total = FIGURES(series, total_us), cpu = FIGURES(series, cpu_us);
	char to_p4k[32], cpu_to_p4k[32];

	fprintf(file, "%zu,%s,%u,%s,%zu,%.1f,%.0f,%.0f,%.0f,%s,%s\n", mib, entry->cell.writes ? "writes" : "reads",
		entry->cell.lives_us, variant_names[v], series->count, FIGURES(series, held_us).median, total.median,
		cpu.median, FIGURES(series, keeper_us).median,
		ratio(to_p4k, total.median, FIGURES(plain, total_us).median),
		ratio(cpu_to_p4k, cpu.median, FIGURES(plain, cpu_us).median));
}

static void print_alive(FILE *file, size_t mib, const struct entry *entry, size_t v)
{
	const struct series *series = &entry->of[v];
	struct figures held = FIGURES(series, held_us);
	double memory = FIGURES(series, memory_kib).most;
	char times[32], memory_to_p4k[32];

	fprintf(file, "%zu,%zu,%g,%s,%zu,%.1f,%.1f,%.1f,%.0f,%s,%.0f,%s\n", mib, entry->cell.alive,
		entry->cell.parent_percent, variant_names[v], series->count, held.median, held.p90, held.most,
		FIGURES(series, parent_us).median,
		ratio(times, FIGURES(&entry->of[P4K], held_us).median, held.median), memory / 1024,
		ratio(memory_to_p4k, memory, FIGURES(&entry->of[P4K], memory_kib).most));
}

static void print_distribution(FILE *file, size_t mib, const struct entry *entry, size_t v)
{
	const struct series *series = &entry->of[v];
	double *values = sorted(series, offsetof(struct sample, held_us));

	for (int percent = 0; percent <= 100; percent++)
		fprintf(file, "%zu,%g,%u,%s,%d,%.1f\n", mib, entry->cell.parent_percent, entry->cell.lives_us,
			variant_names[v], percent, at(values, series->count, percent / 100.0));
	free(values);
}

static void print_fault(FILE *file, size_t mib, const struct cell *cell, const struct series *series, size_t v)
{
	struct figures fault = FIGURES(series, held_us);

	fprintf(file, "%zu,%s,%s,%s,%zu,%.2f,%.2f,%.2f,%.2f,%.1f\n", mib, cell->in_parent ? "parent" : "child",
		cell->writes ? "write" : "read", variant_names[v], series->count, fault.median, fault.mean, fault.p99,
		fault.p999, fault.most);
}

static void print_sparse(FILE *file, size_t mib, const struct cell *cell, const struct series *series, size_t v)
{
	struct figures held = FIGURES(series, held_us);

	fprintf(file, "%zu,%s,%zu,%zu,%s,%zu,%.1f,%.1f,%.1f,%.0f\n", mib, cell->reads_all ? "all" : "none",
		cell->width >> 10, cell->pages, variant_names[v], series->count, held.median, held.p99, held.least,
		FIGURES(series, parent_us).median);
}

static void print_line(FILE *file, size_t mib, const struct entry *entry, size_t v)
{
	switch (entry->cell.experiment) {
	case HELD:
		print_held(file, mib, &entry->of[v], v);
		break;
	case MIX:
		print_mix(file, mib, entry, v);
		break;
	case STEADY:
		print_steady(file, mib, entry, v);
		break;
	case CLOSE:
		print_close(file, mib, entry, v);
		break;
	case AFTER:
		print_after(file, mib, entry, v);
		break;
	case ALIVE:
		print_alive(file, mib, entry, v);
		break;
	case FAULT:
		print_fault(file, mib, &entry->cell, &entry->of[v], v);
		break;
	default:
		print_sparse(file, mib, &entry->cell, &entry->of[v], v);
	}
}

static void print_lines(FILE *file, enum experiment experiment, size_t mib, const struct entry *entries,
			size_t entry_count, void print(FILE *file, size_t mib, const struct entry *entry, size_t v))
{
	for (size_t e = 0; e < entry_count; e++)
		for (size_t v = 0; v < VARIANTS; v++)
			if (entries[e].cell.experiment == experiment && entries[e].of[v].count > 0)
				print(file, mib, &entries[e], v);
	close_table(file);
}

void print_table(const char *prefix, const char *note, enum experiment experiment, size_t mib,
		 const struct entry *entries, size_t entry_count)
{
	print_lines(open_table(prefix, note, experiment_names[experiment], columns[experiment]), experiment, mib,
		    entries, entry_count, print_line);
	if (experiment == STEADY && prefix != NULL)
		print_lines(open_table(prefix, note, "steady-distribution",
				       "mib,parent_percent,lives_us,variant,percent_of_forks,held_us"),
			    experiment, mib, entries, entry_count, print_distribution);
}
