/* SPDX-License-Identifier: MIT
 * odfork stats: evaluates the records of a file. */
#ifndef ODF_CLI_STATS_H
#define ODF_CLI_STATS_H

#include <stdbool.h>
#include <stddef.h>

#include "odfork.h"
#include "record_line.h"

/* Classes of process sizes: below 16 MiB, then in steps of a factor of 4; the last has no upper end. */
#define STATS_SIZES 8
#define STATS_SIZE_FIRST ((double)(16 << 20))
#define STATS_NO_SIZE STATS_SIZES /* the record does not have the size */
#define STATS_TALLY_NAME 128

/* The records of one function in processes of one size class. */
struct stats_group {
	char call[32];
	int size;
	size_t failed;
	size_t strategies[ODF_STRATEGY_COUNT]; /* of calls that did not fail; NONE: a strategy that this version does
	                                          not know */
	double *held; /* microseconds, of calls that did not fail */
	size_t count, room;
};

struct stats_tally {
	char name[STATS_TALLY_NAME];
	size_t count;
};

struct stats_tallies {
	struct stats_tally *list;
	size_t count, room, others; /* others: calls with names for which there was no room */
};

struct stats {
	size_t records, not_understood, processes;
	double first, last; /* seconds since 1970; negative: not known */
	struct stats_group *groups; /* sorted */
	size_t group_count;
	struct stats_tallies reasons, failures, programs; /* each sorted, the highest count first */
};

/* False: no memory. */
bool stats_add(struct stats *stats, const struct record_line *record);
void stats_sort(struct stats *stats);
void stats_free(struct stats *stats);

/* Of a sorted group that is not empty; `part` of 1000. */
double stats_percentile(const struct stats_group *group, unsigned part);

void stats_print(const struct stats *stats, const char *name);
void stats_print_json(const struct stats *stats, const char *name);
#endif
