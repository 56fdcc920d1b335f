/* SPDX-License-Identifier: MIT
 *
 * The programs of bench/heap.sh run plain and preloaded at the same time and work in turns. On "go N" from standard
 * input a program does N units of work and prints its figures as one line of "name value" pairs. It exits at the end of
 * input. Between turns it keeps its memory, so that it can be measured from outside. */
#ifndef ODF_BENCH_TURNS_H
#define ODF_BENCH_TURNS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Reads the next order. False at the end of input. */
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

/* xorshift64*: good enough here, and it uses no memory beside the measured memory. */
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
