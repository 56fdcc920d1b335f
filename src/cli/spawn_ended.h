/* SPDX-License-Identifier: MIT
 * The end of a process that nobody can wait for: by its descriptor. */
#ifndef ODF_CLI_SPAWN_ENDED_H
#define ODF_CLI_SPAWN_ENDED_H

#include <signal.h>
#include <stdbool.h>

/* Whether it has ended, by then with how, as from waitid; si_code is 0 where the kernel does not say. */
bool spawn_ended(int pidfd, siginfo_t *end);

/* Until it has ended or one of the signals, which are blocked, has come: that signal, or 0. -1 with errno: no
 * descriptor is left to wait by. */
int spawn_await(int pidfd, const sigset_t *signals, siginfo_t *signal);
#endif
