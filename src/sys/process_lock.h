/* SPDX-License-Identifier: MIT
 *
 * A lock whose copy in a forked child is free, even if a thread of the parent's held the original at the fork: a
 * holder that is no thread of this process is a leftover.
 */
#ifndef ODF_SYS_PROCESS_LOCK_H
#define ODF_SYS_PROCESS_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>

struct process_lock {
	atomic_int holder; /* thread id; 0: free */
};

/* Takes the lock if no thread of this process has it. Never waits; async-signal-safe. */
bool process_lock_try(struct process_lock *lock);
/* The same if nobody has it, a leftover neither. */
bool process_lock_try_free(struct process_lock *lock);

/* Waits for it. Not for signal handlers. Leaves errno alone. */
void process_lock_wait(struct process_lock *lock);

/* By the thread that took it; also by its copy in a child that was forked while it held it. Async-signal-safe. */
void process_lock_release(struct process_lock *lock);
#endif
