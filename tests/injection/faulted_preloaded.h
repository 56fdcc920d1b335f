/* SPDX-License-Identifier: MIT
 *
 * What the scenarios of faulted_preloaded share: blocks of memory, and calls with their names.
 */
#ifndef TESTS_FAULTED_PRELOADED_H
#define TESTS_FAULTED_PRELOADED_H

#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <threads.h>

#include "faults_program.h"

#define PAGE   ((size_t)4096)
#define BLOCKS 16

/* TRY(result, failed value, function, arguments): on failure errno must be that of the failed call. */
#define TRY_NAMED(result, failure, name, call)         \
	do {                                           \
		arm(name, FAULTS_LIBRARY);             \
		errno = 0;                             \
		result = (__typeof__(result))call;     \
		if (at_round == FAILING)               \
			disarm();                      \
		if (result == (failure))               \
			EXPECT(errno, ENOMEM, EAGAIN); \
	} while (0)
#define TRY(result, failure, function, arguments) TRY_NAMED(result, failure, #function, function arguments)
/* The same for functions that return an errno value. */
#define TRY_VALUE(result, function, arguments)  \
	do {                                    \
		arm(#function, FAULTS_LIBRARY); \
		result = function arguments;    \
		if (at_round == FAILING)        \
			disarm();               \
		EXPECT(result, ENOMEM, EAGAIN); \
	} while (0)

/* faulted_preloaded.c */
extern unsigned char *blocks[BLOCKS];
bool all_holds(void);
void *named(const char *name);
void end_child(pid_t pid);

/* faulted_preloaded_memory.c */
void memory(void);
void shared_memory(void);
void filters(void);
void limits(void);
void locked(void);

/* faulted_preloaded_files.c */
void closes(int file);
void files(void);
#endif
