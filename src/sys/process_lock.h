/* SPDX-License-Identifier: MIT
 *
 * A lock whose copy in a forked child counts as free, even if a thread of the parent held the original at the fork: a
 * holder that is not a thread of this process is stale.
 */
#ifndef ODF_SYS_PROCESS_LOCK_H
#define ODF_SYS_PROCESS_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>

struct process_lock {
	atomic_int holder; /* thread id; 0: free */
};

/* Takes the lock if no thread of this process holds it. Never waits; async-signal-safe. */
bool process_lock_try(struct process_lock *lock);
/* The same only if it has no holder, not even a stale one. */
bool process_lock_try_free(struct process_lock *lock);

/* Waits for the lock. Not for signal handlers. Keeps errno. */
void process_lock_wait(struct process_lock *lock);

/* Called by the thread that took the lock, or by that thread's copy in a child that was forked while it was held.
 * Async-signal-safe. */
void process_lock_release(struct process_lock *lock);
#endif
