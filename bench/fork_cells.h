/* SPDX-License-Identifier: MIT
 *
 * What bench/fork measures: its options, and the cells of each experiment. */
#ifndef ODF_BENCH_FORK_CELLS_H
#define ODF_BENCH_FORK_CELLS_H

#include "fork_tables.h"

#define IN(experiment) (1u << (experiment))
#define LENGTH(array)  (sizeof(array) / sizeof *(array))

/* How long an experiment runs: about `budget_ms` for each variant of a cell, divided into `turns`. */
struct plan {
	const char *sizes;
	unsigned budget_ms, turns;
	size_t limit; /* of all rounds of a variant */
};

extern struct fork_options {
	bool quick;
	unsigned selected;
	const char *sizes, *child, *parent, *csv, *note;
} options;

enum { MOST = 64 };

struct list {
	size_t count;
	double item[MOST];
};

extern struct entry *entries;
extern size_t entry_count;

/* These end the program. */
void die(const char *what);
void usage(void);

const struct plan *plan_of(enum experiment experiment);
struct list sizes_of(enum experiment experiment);
bool holds(const struct list *list, double number);

/* Bytes that an experiment needs in addition to the memory itself: copies that the child and the parent cause, page
 * tables, and a reserve. */
size_t need_beyond(enum experiment experiment, size_t bytes);

/* Adds them to `entries`. */
void add_cells(enum experiment experiment, size_t bytes);
#endif
