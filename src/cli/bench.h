/* SPDX-License-Identifier: MIT
 *
 * odfork bench: what is measured, and the results.
 *
 * For each amount of memory there is a process for each way to hold it (src/measure/fork_worker.h). The processes take
 * turns, so that a drift of the machine's speed affects all of them. */
#ifndef ODF_CLI_BENCH_H
#define ODF_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fork_worker.h"
#include "spawn_ways.h"

/* What a round does. */
enum bench_what { BENCH_FIRST, BENCH_ENDLESS, BENCH_READS, BENCH_SPAWN, BENCH_WHATS };

/* The ways: of holding memory for forks, then of starting a program. */
enum bench_way {
	BENCH_PLAIN,
	BENCH_REGION,
	BENCH_KERNEL,
	BENCH_HUGE,
	BENCH_FORK_WAYS,
	BENCH_SPAWNS = BENCH_FORK_WAYS,
	BENCH_WAYS = BENCH_SPAWNS + SPAWN_WAYS
};

extern const char *const bench_what_keys[BENCH_WHATS];
/* "Start of a program" and "how long the caller is held". */
extern const char *const bench_what_titles[BENCH_WHATS];
extern const char *const bench_what_measures[BENCH_WHATS];
const char *bench_way_key(enum bench_way way);
const char *bench_way_text(enum bench_way way);

/* Microseconds for which the call suspends the caller; for BENCH_READS, from the call until the child is reaped. Half
 * of the samples are between low and high. */
struct bench_row {
	size_t bytes;
	enum bench_what what;
	enum bench_way way;
	size_t count;
	double median, low, high, p99, least;
	double per_second; /* BENCH_ENDLESS: rounds, with the parent's writes; else 0 */
	double times;	   /* the median of the plain way (plain fork; fork and exec) divided by this one's */
};

enum {
	BENCH_SIZES = 16,
	BENCH_ROWS = BENCH_SIZES * (BENCH_HUGE + 1) * BENCH_WHATS + BENCH_SIZES * SPAWN_WAYS,
	BENCH_NOTES = 32
};

struct bench {
	/* The request. */
	size_t sizes[BENCH_SIZES];
	size_t size_count;
	double seconds; /* for measuring; the time for filling memory is added */
	bool progress;
	/* The machine. */
	char kernel[66], libc[64], date[32];
	long processors;
	double memory_gib, load_before, load_after;
	bool with_region, with_kernel, with_pool, with_spawn;
	/* The results. */
	struct bench_row rows[BENCH_ROWS];
	size_t row_count;
	char *notes[BENCH_NOTES]; /* what is left out, and why */
	size_t note_count;
};

/* Adds a note. */
void bench_note(struct bench *bench, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NULL: there is no such row. */
const struct bench_row *bench_find(const struct bench *bench, size_t bytes, enum bench_what what, enum bench_way way);
/* "64 MiB", "1.5 GiB". Returns text. */
const char *bench_amount(char text[32], size_t bytes);
/* "216 us", "15.0 ms", "1.1 s". Returns text. */
const char *bench_duration(char text[32], double us);

/* bench_fit.c: the size fits, with what is measured on it. False: `why` says what is missing. Touches no memory. */
bool bench_fits(const struct bench *bench, size_t bytes, char *why, size_t room);
/* The same, with one more process at the same time. */
bool bench_fits_with_one_more(size_t bytes);

/* bench_run.c: measures. Returns 0; 1 after an error, which it has reported; or minus the number of a signal that asked
 * for the end. In each case its processes have ended and their memory is free. */
int bench_run(struct bench *bench);

/* bench_tables.c */
void bench_print_table(const struct bench *bench, FILE *to);
void bench_print_csv(const struct bench *bench, FILE *to);
void bench_print_json(const struct bench *bench);

/* bench_plot.c: one picture, readable on light and dark backgrounds. */
void bench_plot(const struct bench *bench, FILE *to);

#endif
