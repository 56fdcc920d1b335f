/* SPDX-License-Identifier: MIT
 *
 * Snapshot regions, for the rest of the library. The public functions are in odfork.h; how it works is told in internal.h.
 *
 * A fork is bracketed, so that everything that is LIVE is FROZEN at the moment when the process is copied, and stays it until the end of the bracket. The
 * atfork handlers do the same for forks inside libc that nobody brackets, and cannot make them fail. All of it is async-signal-safe and leaves errno alone.
 */
#ifndef ODF_REGION_REGION_H
#define ODF_REGION_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "odfork.h"

/* Bytes of the regions that a fork would freeze or copy on demand: 0 in a process without regions of its own. One load. */
size_t region_bytes(void);

/* 0 or ENOMEM: nothing was changed then that the program could see. *start: for region_fork_end. */
int region_fork_begin(uint64_t *start);
/* In the parent, also when the fork failed. In a child nothing happens. */
void region_fork_end(uint64_t start);
/* A process that shares this memory and is no thread of this one has been made: nothing can be known to be quiet from now on. */
void region_memory_is_shared(void);
/* In the child, where libc runs no handlers. */
void region_in_child(void);

/* The memory that this process's regions have, for the record; 0 where it cannot be told at once. Async-signal-safe. */
size_t region_resident_bytes(void);
#endif
