/* SPDX-License-Identifier: MIT
 *
 * Shared by bad_arguments.c and bad_arguments_files.c. */
#ifndef TESTS_BAD_ARGUMENTS_H
#define TESTS_BAD_ARGUMENTS_H

#include <errno.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include "../support/real_call.h"

#define PAGE ((size_t)4096)
#define SIZE ((size_t)8 << 20)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

extern char **environ;
extern sigjmp_buf before;
extern char *memory;   /* in the heap where there is one */
extern char *none;     /* may not be read */
extern char *page_end; /* behind which none lies */
static char *const unmapped = (char *)((uintptr_t)1 << 46);
static char *const beyond = (char *)0xffff800000000000u;

/* Of what is a place or a number that differs from run to run only that it is one. */
void say(const char *name, long result);

#define TRY(name, ...)                                                                                  \
	do {                                                                                            \
		int number = sigsetjmp(before, 1);                                                      \
		errno = 0;                                                                              \
		if (number == 0)                                                                        \
			say(name, (long)(__VA_ARGS__));                                                 \
		else                                                                                    \
			printf("%s: signal %d\n", name, number);                                        \
	} while (0)
#define SAY(...) TRY(#__VA_ARGS__, __VA_ARGS__)

/* bad_arguments_files.c */
void try_descriptors(void);
void try_files(void);
void try_limits(void);
#endif
