/* SPDX-License-Identifier: MIT
 *
 * For the programs under faults.c: the memory that they share with it, and the checks that all of them make. A scenario
 * runs three times: before any call fails (unless it is "cold": then the first use fails), while a call fails, and
 * after that, when everything must work again. The state before and after is compared: descriptors, mappings, threads,
 * children, the signal mask, malloc's memory.
 */
#ifndef ODF_TESTS_FAULTS_PROGRAM_H
#define ODF_TESTS_FAULTS_PROGRAM_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"
#include "../support/real_call.h"

enum round { WARM_UP, FAILING, AFTER };
extern struct faults *faults;
extern enum round at_round;
extern bool cold;
void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *format, ...);

#define MUST(condition) \
	((condition) ? (void)0 : wrong("%s:%d: %s (round %d)", __FILE__, __LINE__, #condition, at_round))

int function_of(const char *name);
void arm(const char *function, enum faults_armed how);
void disarm(void);

/* CALL(variable, odf_fork, ()): includes the calls that libc makes for it. */
#define CALL(result, function, arguments)    \
	do {                                 \
		arm(#function, FAULTS_CALL); \
		result = function arguments; \
		if (at_round == FAILING)     \
			disarm();            \
	} while (0)

#define CALL_VOID(function, arguments)       \
	do {                                 \
		arm(#function, FAULTS_CALL); \
		function arguments;          \
		if (at_round == FAILING)     \
			disarm();            \
	} while (0)

/* Whether an errno value is as documented: that of the failed call, or one that the function is known for. */
bool is_expected(int error, ...);

#define EXPECT(error, ...)                                                                        \
	do {                                                                                      \
		int error_ = (error);                                                             \
		if (!is_expected(error_, __VA_ARGS__ __VA_OPT__(, ) 0))                           \
			wrong("%s:%d: %s is %d, round %d, %d failed", __FILE__, __LINE__, #error, \
			      error_, at_round, (int)atomic_load(&faults->failures));             \
	} while (0)

/* By calls that neither the library nor libc sees. */
int reap(pid_t pid);
void leave(int status);
void pause_ms(long ms);

struct scenario {
	const char *name;
	void (*run)(void);
	bool may_map; /* a settle splits and merges the mappings of the program's memory */
};
int run_scenario(const struct scenario *known, size_t count, const char *name);

/* Data that must not change. */
static inline void fill(unsigned char *bytes, size_t size, unsigned char with)
{
	for (size_t i = 0; i < size; i += 512)
		bytes[i] = (unsigned char)(with + i / 512);
}

static inline bool holds(const unsigned char *bytes, size_t size, unsigned char with)
{
	for (size_t i = 0; i < size; i += 512)
		if (bytes[i] != (unsigned char)(with + i / 512))
			return false;
	return true;
}

#endif
