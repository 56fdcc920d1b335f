/* SPDX-License-Identifier: MIT
 *
 * The fork calls.
 */
#ifndef ODF_FORK_FORK_H
#define ODF_FORK_FORK_H

#include <sys/types.h>

/* The function that the program called. It selects libc's function, and is the name in the record. */
enum fork_call { FORK_CALL_ODF_FORK, FORK_CALL_ODF_FORK_WITH, FORK_CALL_FORK, FORK_CALL_FORK_BARE };

/* Forks with the strategy that fits. As async-signal-safe as libc's function. */
pid_t fork_by_call(enum fork_call call);

/* libc's fork with the process's regions frozen; chooses and records nothing. ENOMEM also if they cannot be frozen. */
pid_t fork_plainly(void);
#endif
