/* SPDX-License-Identifier: MIT
 *
 * Helpers of the models and other long-running programs. They make no call to the library: some of the programs run
 * without it.
 */
#ifndef ODF_TESTS_MODEL_SUPPORT_H
#define ODF_TESTS_MODEL_SUPPORT_H

#include <stdint.h>

/* A number from the environment variable `name`, decimal, octal or hexadecimal as in C; `otherwise` if it is not
 * set. */
uint64_t number_from(const char *name, uint64_t otherwise);

/* Seconds of CLOCK_MONOTONIC. */
double now(void);

/* With ODF_TEST_NOBODY=1 root becomes nobody and executes this program again. The library probes the kernel in a
 * constructor, so the process must be nobody before it is loaded. */
void become_nobody_if_asked(char **argv);

/* A pseudo-random number for each x, always the same (splitmix64). */
static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}
#endif
