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
	int huge_percent, settling; /* as the worker said last */
};

enum heard { HEARD, GONE, ASKED };

extern volatile sig_atomic_t bench_asked; /* the signal that asks for the end; 0: none */
void bench_take_signals(void);
void bench_give_signals_back(void);
/* The end of all that was started, whatever it is doing, and of its children, which are in its group. */
void bench_end_all(void);
/* A reply's samples are appended to the series (NULL: there are none). */
enum heard bench_hear(struct worker *worker, struct series *series);
/* How a worker ended that should not have. It has said why, unless it was killed. */
void bench_say_end(enum bench_way way);
enum heard bench_start_worker(enum bench_way way, size_t bytes);
void bench_stop_worker(enum bench_way way);
#endif
