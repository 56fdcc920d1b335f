/* SPDX-License-Identifier: MIT
 *
 * Shared by faults.c, which decides the result of the system calls, and the programs under it, which announce what they
 * do: a few pages of a file that both map. The programs make their own calls by real_call, so that only the library's
 * calls fail.
 */
#ifndef ODF_TESTS_FAULTS_H
#define ODF_TESTS_FAULTS_H

#include <stdatomic.h>
#include <stdint.h>

#define FAULTS_FD	 1000 /* descriptor of the file, in a program at its start */
#define FAULTS_NUMBERS	 480
#define FAULTS_FUNCTIONS 128

/* Which calls count: none; those of the library and of libc; those of the library only. */
enum faults_armed { FAULTS_NONE = 0, FAULTS_CALL, FAULTS_LIBRARY };

struct faults {
	/* Written by the program. */
	_Atomic(uintptr_t) library, library_end, libc, libc_end;
	atomic_int armed;
	atomic_int function; /* index into `functions`: the function that is being called */
	atomic_int functions_count;
	char functions[FAULTS_FUNCTIONS][32];
	atomic_bool told;
	char text[512]; /* error message */
	/* Written by faults.c. */
	int number; /* of the call that fails; -1: none, and all are counted */
	int error;
	int nth;
	int times;
	char only[32]; /* only in this function; "": in any */
	atomic_int hits, failures;
	atomic_int go; /* faults.c has the listener */
	atomic_int listener;
	atomic_int seen[FAULTS_FUNCTIONS][FAULTS_NUMBERS];
	atomic_int failed[FAULTS_FUNCTIONS][FAULTS_NUMBERS];
};
#endif
