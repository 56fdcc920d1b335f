/* SPDX-License-Identifier: MIT
 *
 * What bench/fork measured, and the CSV tables that it becomes. */
#ifndef ODF_BENCH_FORK_TABLES_H
#define ODF_BENCH_FORK_TABLES_H

#include "fork_worker.h"

enum variant { P4K, P2M, REGION, REGION_NEXT, EMPTY, EMPTY_NEXT, VARIANTS };

extern const char *const variant_names[VARIANTS];
extern const char *const experiment_names[EXPERIMENTS];

struct series {
	struct sample *samples;
	size_t count;
	int huge_percent, settling; /* as in struct reply; the least, the last */
};

struct entry {
	struct cell cell;
	struct series of[VARIANTS];
};

/* The lines of one experiment at one size, to PREFIX-NAME.csv, or to standard output where `prefix` is NULL. A file
 * starts with `note` and a header; steady has a second one with its distribution. Ends the program if it cannot
 * write. */
void print_table(const char *prefix, const char *note, enum experiment experiment, size_t mib,
		 const struct entry *entries, size_t entry_count);

#endif
