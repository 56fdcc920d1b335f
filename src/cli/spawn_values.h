/* SPDX-License-Identifier: MIT
 * Words and numbers in the values of options. False: not understood, and nothing is stored. */
#ifndef ODF_CLI_SPAWN_VALUES_H
#define ODF_CLI_SPAWN_VALUES_H

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>

/* The whole text is a number in this base. */
bool read_number(const char *text, int base, long least, long most, long *number);
/* A name with or without "SIG", RTMIN+N, RTMAX-N, or a number. */
bool read_signal(const char *text, int *number);
/* Signals separated by commas; none; all. */
bool read_signals(const char *text, sigset_t *set);
/* "0-3,5" */
bool read_processors(const char *text, cpu_set_t *set);
/* "NAME=SOFT[:HARD]", each a number, a size or "unlimited"; alone, SOFT is both. */
bool read_limit(const char *text, int *resource, struct rlimit *limit);
/* "POLICY[:PRIORITY]" */
bool read_policy(const char *text, int *policy, int *priority);

/* Calls `take` with each word between commas until it returns false. */
bool each_word(const char *text, bool (*take)(const char *word, void *argument), void *argument);
#endif
