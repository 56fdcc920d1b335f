/* SPDX-License-Identifier: MIT
 *
 * The switch of an on-demand-fork kernel: set before libc's fork, put back after it. Two interfaces share the file. On one the
 * bit holds until it is cleared, is inherited and survives exec; on the other writing 1 arms the next clone of any kind, the file
 * reads 0 until then, and writing 0 afterwards succeeds and does nothing. Neither read-back is an error, and putting back what was there
 * before is right for both.
 *
 * The flag belongs to the address space, so its users are serialised; a fork in a signal handler must not wait for the thread that it
 * interrupted, so nobody waits: whoever finds it busy forks plainly. Async-signal-safe.
 */
#ifndef ODF_FORK_KERNEL_SWITCH_H
#define ODF_FORK_KERNEL_SWITCH_H

#include <stdbool.h>

#include "odfork.h"

struct kernel_switch {
	const char *path;
	bool was_set; /* somebody had set it before: left alone */
	bool ours;    /* set by this fork, not by another thread's at the same time */
};

/* ODF_REASON_NONE: set. Otherwise why not; nothing is changed then. kernel_switch_put_back must follow in parent and child either way. */
odf_reason kernel_switch_set(struct kernel_switch *state, const char *path);

/* In the parent, and in the child with its own copy of the state. A child that was forked plainly while another thread had the switch set
 * has inherited it, and clears it. */
void kernel_switch_put_back(const struct kernel_switch *state, bool in_child);
#endif
