/* SPDX-License-Identifier: MIT
 *
 * For faults.c: one run of a scenario in which calls fail.
 */
#ifndef TESTS_FAULTS_RUN_H
#define TESTS_FAULTS_RUN_H

#include <seccomp.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "faults.h"

#define SCENARIOS 32
#define ERRORS    5

extern struct call {
	bool own; /* only if the library itself makes the call, and not libc for it */
	bool may[ERRORS];
} calls[FAULTS_NUMBERS];

/* Over all runs and all workers. */
extern struct totals {
	atomic_int next, runs, failures, wrong;
	atomic_int functions_count;
	char functions[FAULTS_FUNCTIONS][32];
	atomic_flag lock;
	atomic_int seen[FAULTS_FUNCTIONS][FAULTS_NUMBERS];
	atomic_int failed[FAULTS_FUNCTIONS][FAULTS_NUMBERS];
	atomic_int scenario[FAULTS_FUNCTIONS]; /* a scenario in which it was counted */
	atomic_int counts[SCENARIOS][FAULTS_NUMBERS];
} * totals;

extern struct faults *control;
extern int control_fd;
extern char *scenarios[SCENARIOS];
extern char **program; /* with room for the scenario at the end */
extern int program_words;

void die(const char *what);
const char *call_name(int number);

/* Returns how many calls failed. `only`: the function in which calls fail; "": any. */
int run(int scenario, int number, int error, int nth, int times, const char *only);
#endif
