/* SPDX-License-Identifier: MIT
 *
 * The figures of bench/fork, and the CSV tables that print them. */
#ifndef ODF_BENCH_FORK_TABLES_H
#define ODF_BENCH_FORK_TABLES_H

#include "fork_worker.h"

enum variant { P4K, P2M, REGION, REGION_NEXT, EMPTY, EMPTY_NEXT, VARIANTS };

extern const char *const variant_names[VARIANTS];
extern const char *const experiment_names[EXPERIMENTS];

struct series {
	struct sample *samples;
	size_t count;
	int huge_percent, settling; /* as in struct reply: the lowest, and the latest */
};

struct entry {
	struct cell cell;
	struct series of[VARIANTS];
};

/* Prints the lines of one experiment at one size to PREFIX-NAME.csv, or to standard output if `prefix` is NULL. A file
 * starts with `note` and a header. For steady a second file has the distribution. Ends the program if a write fails. */
void print_table(const char *prefix, const char *note, enum experiment experiment, size_t mib,
		 const struct entry *entries, size_t entry_count);

#endif
