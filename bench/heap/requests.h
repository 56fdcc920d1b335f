/* SPDX-License-Identifier: MIT
 *
 * What requests.c has measured, for the figures that requests_report.c makes of it. */
#ifndef ODF_BENCH_REQUESTS_H
#define ODF_BENCH_REQUESTS_H

#include <stddef.h>

extern struct requests_options {
	unsigned long port, server, keys, value, rate, writes, connections, saves, slice_ms;
	double before_s, after_s;
	const char *timeline;
} options;

struct request {
	float latency_us, late_us; /* late: how long after it was due this client wrote it */
};
extern struct request *requests;
extern size_t due_count;
extern double start_us;

struct save {
	double before_us, start_us, end_us, after_us, fork_us;
};

/* End the program. */
void die(const char *what);
void fail(const char *what, const char *why);

double due_us(size_t request);

/* A line of what the requests that were due in a part of a save waited. */
void print_window(size_t number, const struct save *save, const char *name, double from_us, double to_us);

/* What the requests due in each slice waited, and how many were answered in it, to a file of its own. */
void write_timeline(const struct save *saves);
#endif
