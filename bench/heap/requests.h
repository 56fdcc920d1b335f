/* SPDX-License-Identifier: MIT
 *
 * The measurements of requests.c, from which requests_report.c computes its figures. */
#ifndef ODF_BENCH_REQUESTS_H
#define ODF_BENCH_REQUESTS_H

#include <stddef.h>

extern struct requests_options {
	unsigned long port, server, keys, value, rate, writes, connections, saves, slice_ms;
	double before_s, after_s;
	const char *timeline;
} options;

struct request {
	float latency_us, late_us; /* late: time from when it was due until this client wrote it */
};
extern struct request *requests;
extern size_t due_count;
extern double start_us;

struct save {
	double before_us, start_us, end_us, after_us, fork_us;
};

/* These end the program. */
void die(const char *what);
void fail(const char *what, const char *why);

double due_us(size_t request);

/* Prints a line with the latencies of the requests that were due in one window of a save. */
void print_window(size_t number, const struct save *save, const char *name, double from_us, double to_us);

/* Writes the timeline file: for each slice the latencies of the requests due in it, and how many were answered in
 * it. */
void write_timeline(const struct save *saves);
#endif
