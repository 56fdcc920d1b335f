/* SPDX-License-Identifier: MIT
 *
 * The workers of odfork bench. For bench_run.c and bench_workers.c only. */
#ifndef ODF_CLI_BENCH_WORKERS_H
#define ODF_CLI_BENCH_WORKERS_H

#include <signal.h>

#include "bench.h"

struct worker {
	pid_t pid; /* 0: none */
	int fd;
};
extern struct worker bench_workers[BENCH_FORK_WAYS];

struct series {
	struct sample *samples;
	size_t count;
	int huge_percent, settling; /* as the worker has last reported */
};

enum heard { HEARD, GONE, ASKED };

extern volatile sig_atomic_t bench_asked; /* the signal that asked for the end; 0: none */
void bench_take_signals(void);
void bench_give_signals_back(void);
/* Ends all workers, whatever they are doing, and their children, which are in their groups. */
void bench_end_all(void);
/* Appends a reply's samples to the series (NULL: the reply has none). */
enum heard bench_hear(struct worker *worker, struct series *series);
/* Reports how a worker ended unexpectedly. It has said why itself, unless it was killed. */
void bench_say_end(enum bench_way way);
enum heard bench_start_worker(enum bench_way way, size_t bytes);
void bench_stop_worker(enum bench_way way);
#endif
