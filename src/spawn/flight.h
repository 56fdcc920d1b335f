/* SPDX-License-Identifier: MIT
 *
 * Plans on which a child still runs after its maker has returned. A plan is in flight from the clone until the child
 * lets go of the memory, by exec or its end: the kernel then clears `alive`, and the plan has landed. Landed blocks are
 * reused.
 */
#ifndef ODF_SPAWN_FLIGHT_H
#define ODF_SPAWN_FLIGHT_H

#include "plan.h"

/* Whether the child has let go of the memory. */
bool flight_has_landed(const struct plan *plan);

/* Waits for that, for at most `timeout_ms` (-1: no limit). Looks at `pid` from time to time, as a child that dies with
 * a core dump may leave `alive` set. */
bool flight_await(struct plan *plan, pid_t pid, int timeout_ms);

/* Takes ownership of a plan, in flight or landed. */
void flight_add(struct plan *plan);

/* A landed block of at least this size; NULL: none was found. */
struct plan *flight_take(size_t size);

/* Unmaps some landed blocks beyond those that are kept. */
void flight_tidy(void);

/* In a forked child, where no process runs on the copies. Async-signal-safe. */
void flight_forget(void);

/* Unmaps a block. */
void flight_drop(struct plan *plan);

/* Copies all that the plan borrows into memory of the plan. 0 or ENOMEM. */
int flight_pack(struct plan *plan);
#endif
