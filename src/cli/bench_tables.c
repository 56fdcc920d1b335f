/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "bench.h"
#include "json.h"
#include "odfork.h"

const char *const bench_what_keys[BENCH_WHATS] = { "first_fork", "endless_1", "child_reads_1", "spawn" };
const char *const bench_what_titles[BENCH_WHATS] = {
	[BENCH_FIRST] = "First fork",
	[BENCH_ENDLESS] = "Forks without end, 1 % written before each",
	[BENCH_READS] = "The child reads 1 % of the pages",
	[BENCH_SPAWN] = "Start of a program",
};
const char *const bench_what_measures[BENCH_WHATS] = {
	[BENCH_FIRST] = "how long the process is held",
	[BENCH_ENDLESS] = "how long the process is held",
	[BENCH_READS] = "from the fork to the child's end",
	[BENCH_SPAWN] = "how long the caller is held",
};

static const struct {
	const char *key, *text;
} forks[BENCH_SPAWNS] = {
	[BENCH_PLAIN] = { "plain", "plain fork" },
	[BENCH_REGION] = { "region", "memory in a region" },
	[BENCH_KERNEL] = { "kernel", "on demand by the kernel" },
	[BENCH_HUGE] = { "huge_pages", "plain fork, 2 MiB pages" },
};

const char *bench_way_key(enum bench_way way)
{
	return way < BENCH_SPAWNS ? forks[way].key : spawn_ways[way - BENCH_SPAWNS].key;
}

const char *bench_way_text(enum bench_way way)
{
	return way < BENCH_SPAWNS ? forks[way].text : spawn_ways[way - BENCH_SPAWNS].name;
}

const struct bench_row *bench_find(const struct bench *bench, size_t bytes, enum bench_what what, enum bench_way way)
{
	for (size_t r = 0; r < bench->row_count; r++)
		if (bench->rows[r].bytes == bytes && bench->rows[r].what == what && bench->rows[r].way == way)
			return &bench->rows[r];
	return NULL;
}

const char *bench_amount(char text[32], size_t bytes)
{
	bool gib = bytes >= (size_t)1 << 30;
	double amount = (double)bytes / (double)((size_t)1 << (gib ? 30 : 20));

	snprintf(text, 32, amount >= 99.95 || amount == (double)(size_t)amount ? "%.0f %s" : "%.1f %s", amount,
		 gib ? "GiB" : "MiB");
	return text;
}

const char *bench_duration(char text[32], double us)
{
	double value = us < 999.5 ? us : us < 999500 ? us / 1e3 : us / 1e6;

	snprintf(text, 32, value < 99.95 && us >= 999.5 ? "%.1f %s" : "%.0f %s", value,
		 us < 999.5    ? "us"
		 : us < 999500 ? "ms"
			       : "s");
	return text;
}

/* ---- For people ------------------------------------------------------------------------------------------------ */

static void print_gain(const struct bench *bench, FILE *to, size_t bytes)
{
	const struct bench_row *plain = bench_find(bench, bytes, BENCH_FIRST, BENCH_PLAIN);
	const struct bench_row *region = bench_find(bench, bytes, BENCH_FIRST, BENCH_REGION);
	const struct bench_row *forked = bench_find(bench, bytes, BENCH_SPAWN, BENCH_SPAWNS + SPAWN_BY_FORK);
	const struct bench_row *spawned = bench_find(bench, bytes, BENCH_SPAWN, BENCH_SPAWNS + SPAWN_BY_ODF);
	char amount[32], before[32], after[32];

	bench_amount(amount, bytes);
	if (plain != NULL && region != NULL)
		fprintf(to,
			"A fork holds a process of %s for %s, and for %s with its memory in a region: %.1f times as "
			"fast.\n",
			amount, bench_duration(before, plain->median), bench_duration(after, region->median),
			region->times);
	if (forked != NULL && spawned != NULL)
		fprintf(to,
			"Starting a program holds it for %s by fork and exec, and for %s by odf_spawn: %.1f times as "
			"fast.\n",
			bench_duration(before, forked->median), bench_duration(after, spawned->median), spawned->times);
}

static void print_row(const struct bench_row *row, bool first_of_size, FILE *to)
{
	char amount[32] = "", median[32], low[32], high[32], p99[32], rate[32] = "";

	if (first_of_size)
		bench_amount(amount, row->bytes);
	if (row->per_second > 0)
		snprintf(rate, sizeof rate, row->per_second < 100 ? "%.1f" : "%.0f", row->per_second);
	fprintf(to, "%9s  %-24s %8s   %8s to %-8s %8s %7.1f", amount, bench_way_text(row->way),
		bench_duration(median, row->median), bench_duration(low, row->low), bench_duration(high, row->high),
		bench_duration(p99, row->p99), row->times);
	fprintf(to, row->what == BENCH_ENDLESS ? " %8s\n" : "\n", rate);
}

static void print_section(const struct bench *bench, enum bench_what what, FILE *to)
{
	bool begun = false;

	for (size_t s = 0; s < bench->size_count; s++) {
		bool first = true;
		for (enum bench_way way = 0; way < BENCH_WAYS; way++) {
			const struct bench_row *row = bench_find(bench, bench->sizes[s], what, way);
			if (row == NULL)
				continue;
			if (!begun)
				fprintf(to, "\n%s: %s\n%9s  %-24s %8s   %20s %8s %7s%s\n", bench_what_titles[what],
					bench_what_measures[what], "memory", "", "median", "half are within", "99 %",
					"times", what == BENCH_ENDLESS ? " a second" : "");
			print_row(row, first, to);
			begun = true;
			first = false;
		}
	}
}

void bench_print_table(const struct bench *bench, FILE *to)
{
	fprintf(to, "odfork %s on Linux %s, %ld processors, %.1f GiB, %s, %s; load %.1f before, %.1f after\n\n",
		odf_version(), bench->kernel, bench->processors, bench->memory_gib, bench->libc, bench->date,
		bench->load_before, bench->load_after);
	print_gain(bench, to, bench->sizes[bench->size_count - 1]);
	for (enum bench_what what = 0; what < BENCH_WHATS; what++)
		print_section(bench, what, to);
	fprintf(to, "\n\"times\": as many times as fast as plain fork; of programs, as fork and exec.\n");
	for (size_t n = 0; n < bench->note_count; n++)
		fprintf(to, "%s%s.\n", n == 0 ? "\n" : "", bench->notes[n]);
}

/* ---- For programs ---------------------------------------------------------------------------------------------- */

void bench_print_csv(const struct bench *bench, FILE *to)
{
	fprintf(to, "mib,what,way,count,median_us,low_us,high_us,p99_us,least_us,per_second,times\n");
	for (size_t r = 0; r < bench->row_count; r++) {
		const struct bench_row *row = &bench->rows[r];
		char rate[32] = "";
		if (row->per_second > 0)
			snprintf(rate, sizeof rate, "%.2f", row->per_second);
		fprintf(to, "%.6g,%s,%s,%zu,%.1f,%.1f,%.1f,%.1f,%.1f,%s,%.3f\n", (double)row->bytes / (1 << 20),
			bench_what_keys[row->what], bench_way_key(row->way), row->count, row->median, row->low,
			row->high, row->p99, row->least, rate, row->times);
	}
}

void bench_print_json(const struct bench *bench)
{
	FILE *to = stdout; /* json_print_string writes there too */

	fprintf(to, "{\"version\":\"%s\",\"kernel_release\":", odf_version());
	json_print_string(bench->kernel);
	fprintf(to, ",\"libc\":");
	json_print_string(bench->libc);
	fprintf(to,
		",\"processors\":%ld,\"memory_gib\":%.1f,\"date\":\"%s\",\"load_before\":%.2f,\"load_after\":%.2f,"
		"\"rows\":[",
		bench->processors, bench->memory_gib, bench->date, bench->load_before, bench->load_after);
	for (size_t r = 0; r < bench->row_count; r++) {
		const struct bench_row *row = &bench->rows[r];
		fprintf(to,
			"%s{\"bytes\":%zu,\"what\":\"%s\",\"way\":\"%s\",\"count\":%zu,\"median_us\":%.1f,\"low_us\":%."
			"1f,\"high_us\":%.1f,",
			r == 0 ? "" : ",", row->bytes, bench_what_keys[row->what], bench_way_key(row->way), row->count,
			row->median, row->low, row->high);
		fprintf(to, "\"p99_us\":%.1f,\"least_us\":%.1f,\"per_second\":", row->p99, row->least);
		fprintf(to, row->per_second > 0 ? "%.2f" : "null", row->per_second);
		fprintf(to, ",\"times\":%.3f}", row->times);
	}
	fprintf(to, "],\"notes\":[");
	for (size_t n = 0; n < bench->note_count; n++) {
		fputs(n == 0 ? "" : ",", to);
		json_print_string(bench->notes[n]);
	}
	fprintf(to, "]}\n");
}
