/* SPDX-License-Identifier: MIT
 *
 * What the models and other programs that run for long have in common. Without a call of the library: some are programs
 * that know nothing of it. */
#ifndef ODF_TESTS_MODEL_SUPPORT_H
#define ODF_TESTS_MODEL_SUPPORT_H

#include <stdint.h>

/* A number that the environment gives, in any base of C's. */
uint64_t number_from(const char *name, uint64_t otherwise);

/* Seconds of CLOCK_MONOTONIC. */
double now(void);

/* With ODF_TEST_NOBODY=1 root becomes nobody, and this program is executed again: the library asks its questions in a
 * constructor, so it must begin as nobody. */
void become_nobody_if_asked(char **argv);

/* Another number for each, which looks like chance (splitmix64). */
static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}
#endif
