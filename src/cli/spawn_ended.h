/* SPDX-License-Identifier: MIT
 * The end of a process that cannot be waited for, by its pidfd. */
#ifndef ODF_CLI_SPAWN_ENDED_H
#define ODF_CLI_SPAWN_ENDED_H

#include <signal.h>
#include <stdbool.h>

/* The process has ended; *end says how, as from waitid; si_code is 0 if the kernel does not say. */
bool spawn_ended(int pidfd, siginfo_t *end);

/* Waits until the process has ended or one of the signals, which are blocked, has come. Returns that signal, or 0. -1
 * with errno: there is no descriptor left for the wait. */
int spawn_await(int pidfd, const sigset_t *signals, siginfo_t *signal);
#endif
