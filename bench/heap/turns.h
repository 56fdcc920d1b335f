/* SPDX-License-Identifier: MIT
 *
 * The programs of bench/heap.sh work in turns, plain and preloaded beside each other: "go N" on standard input is an
 * order to do N units of work, whose figures they print as one line of "name value" pairs; the end of input is the
 * end. Between turns they hold what they have, so that it can be measured from outside. */
#ifndef ODF_BENCH_TURNS_H
#define ODF_BENCH_TURNS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* False at the end. */
static inline bool next_turn(unsigned long *units)
{
	char line[64];

	fflush(stdout);
	if (fgets(line, sizeof line, stdin) == NULL)
		return false;
	if (sscanf(line, "go %lu", units) != 1) {
		fprintf(stderr, "not understood: %s", line);
		exit(1);
	}
	return true;
}

/* xorshift64*: as good as is needed here, and nothing beside the memory that is measured. */
static inline uint64_t random_number(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1d;
}
#endif
