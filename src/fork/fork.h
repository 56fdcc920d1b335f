/* SPDX-License-Identifier: MIT
 * The fork engines. */
#ifndef ODF_FORK_FORK_H
#define ODF_FORK_FORK_H

#include <sys/types.h>

/* The function that the program called: decides which of libc's runs, and is the record's name. */
enum fork_call { FORK_CALL_ODF_FORK, FORK_CALL_ODF_FORK_WITH, FORK_CALL_FORK, FORK_CALL_FORK_BARE };

/* fork, with the strategy that suits. Async-signal-safe where the libc function is. */
pid_t fork_by_call(enum fork_call call);

/* libc's fork with the process's regions frozen, and nothing chosen or recorded. ENOMEM as well where they cannot be.
 * */
pid_t fork_plainly(void);
#endif
