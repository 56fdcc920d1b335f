/* SPDX-License-Identifier: MIT
 *
 * Snapshot regions, for the rest of the library. The public functions are in odfork.h; how it works is told in internal.h.
 *
 * A fork is bracketed, so that everything that is LIVE is FROZEN at the moment when the process is copied:
 *   - by region_fork_begin/region_fork_end around a libc function that forks and runs atfork handlers (fork, daemon, forkpty): freezes ahead, where
 *     failure can still be told to the caller. The handlers freeze again whatever another thread made LIVE meanwhile: nothing, as begin
 *     keeps it FROZEN until end;
 *   - by region_hold/region_release around one that runs none (_Fork, clone, a system call).
 * All of it is async-signal-safe and leaves errno alone.
 */
#ifndef ODF_REGION_REGION_H
#define ODF_REGION_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "odfork.h"

/* Bytes of the regions that a fork would freeze or copy on demand: 0 in a process without regions of its own. One load. */
size_t region_bytes(void);

/* 0 or ENOMEM: nothing was changed then that the program could see. */
int region_fork_begin(uint64_t *start); /* *start: for region_fork_end */
/* In the parent, also when the fork failed. In the child, where the handlers have done it, nothing happens. */
void region_fork_end(uint64_t start);

struct region_held {
	uint64_t mask; /* the caller's signal mask: all signals are blocked meanwhile */
};
int region_hold(struct region_held *held);
void region_release(const struct region_held *held, bool in_child);

/* The memory that this process's regions have, for the record; 0 where it cannot be told at once. Async-signal-safe. */
size_t region_resident_bytes(void);
#endif
