/* SPDX-License-Identifier: MIT
 *
 * Plans that a child is still running on while its maker has gone on. A plan is in the air from clone until the child
 * lets go of the memory, by exec or its end: the kernel then clears `alive`. Their blocks are used again. */
#ifndef ODF_SPAWN_FLIGHT_H
#define ODF_SPAWN_FLIGHT_H

#include "plan.h"

/* The child has let go of the memory. */
bool flight_has_landed(const struct plan *plan);

/* Waits for that, for at most `timeout_ms` (-1: without an end). `pid` is looked at now and then: a child that dies
 * with a core dump may leave the word as it is. */
bool flight_await(struct plan *plan, pid_t pid, int timeout_ms);

/* Takes a plan over, in the air or not. */
void flight_add(struct plan *plan);

/* A block of at least this size that nobody runs on; NULL: none is known. */
struct plan *flight_take(size_t size);

/* Gives some of those back that were more than are kept. */
void flight_tidy(void);

/* In a forked child, where nobody runs on the copies. Async-signal-safe. */
void flight_forget(void);

/* Gives a block back for good. */
void flight_drop(struct plan *plan);

/* Copies what the plan borrows into memory of its own. 0 or ENOMEM. */
int flight_pack(struct plan *plan);
#endif
