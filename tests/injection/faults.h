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

#define FAULTS_FD	 1000 /* the file, in a program that begins */
#define FAULTS_NUMBERS	 480
#define FAULTS_FUNCTIONS 128

/* Whose calls count: nobody's; those of the library and of libc; those of the library alone. */
enum faults_armed { FAULTS_NONE = 0, FAULTS_CALL, FAULTS_LIBRARY };

struct faults {
	/* The program's. */
	_Atomic(uintptr_t) library, library_end, libc, libc_end;
	atomic_int armed;
	atomic_int function; /* index into `functions`: what is being called */
	atomic_int functions_count;
	char functions[FAULTS_FUNCTIONS][32];
	atomic_bool told;
	char text[512]; /* what went wrong */
	/* faults.c's. */
	int number; /* -1: none is failed, all are counted */
	int error;
	int nth;
	int times;
	char only[32]; /* in this function; "": in any */
	atomic_int hits, failures;
	atomic_int go; /* the listener is in good hands */
	atomic_int listener;
	atomic_int seen[FAULTS_FUNCTIONS][FAULTS_NUMBERS];
	atomic_int failed[FAULTS_FUNCTIONS][FAULTS_NUMBERS];
};
#endif
