/* SPDX-License-Identifier: MIT
 *
 * What bench/fork is to measure: its options, and the cells of each experiment. */
#ifndef ODF_BENCH_FORK_CELLS_H
#define ODF_BENCH_FORK_CELLS_H

#include "fork_tables.h"

#define IN(experiment) (1u << (experiment))
#define LENGTH(array)  (sizeof(array) / sizeof *(array))

/* How much of an experiment is done: on each variant of a cell for about `budget_ms`, in so many turns. */
struct plan {
	const char *sizes;
	unsigned budget_ms, turns;
	size_t limit; /* rounds in all */
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

/* End the program. */
void die(const char *what);
void usage(void);

const struct plan *plan_of(enum experiment experiment);
struct list sizes_of(enum experiment experiment);
bool holds(const struct list *list, double number);

/* What an experiment needs beyond one or more times the memory itself: copies that child and parent make, page tables,
 * and room for the rest. */
size_t need_beyond(enum experiment experiment, size_t bytes);

/* To `entries`. */
void add_cells(enum experiment experiment, size_t bytes);
#endif
