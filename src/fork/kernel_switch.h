/* SPDX-License-Identifier: MIT
 *
 * The switch of an on-demand-fork kernel: set before libc's fork, put back after it. Two interfaces share the file
 * /proc/self/use_odf. On one the bit holds until it is cleared, is inherited and survives exec; on the other writing 1
 * arms the next clone of any kind, a thread's too, the file reads 0 until then, and writing 0 afterwards succeeds and
 * does nothing. Neither read-back is an error. The third is a file of the process's memory cgroup, which other
 * processes share: only who has set it puts it back. The fourth is a prctl.
 *
 * A kernel that was seen to keep data gets its switch back as it was. On others it stays on after the first fork, in
 * both processes: seen on 5.6.19, processes that share page tables and have the switch off are killed for lawful calls,
 * and with it on they are not.
 *
 * The flag belongs to the address space, so its users are serialised; a fork in a signal handler must not wait for the
 * thread that it interrupted, so nobody waits: whoever finds it busy forks plainly. Async-signal-safe.
 */
#ifndef ODF_FORK_KERNEL_SWITCH_H
#define ODF_FORK_KERNEL_SWITCH_H

#include <stdbool.h>

#include "../capability/kernel.h"

struct kernel_switch {
	const struct kernel_place *place;
	bool was_set; /* somebody had set it before: left alone */
	bool stays;   /* not thrown back once there was a fork */
	bool ours;    /* set by this fork, not by another thread's at the same time */
};

/* ODF_REASON_NONE: set. Otherwise why not; nothing is changed then. kernel_switch_put_back must follow in the parent
 * either way. */
odf_reason kernel_switch_set(struct kernel_switch *state, const struct kernel_place *place, bool keeps_data);

/* In the parent. `forked`: it has a child now. */
void kernel_switch_put_back(const struct kernel_switch *state, bool forked);

/* In the child of any fork where a kernel's on-demand fork is offered: a child that was forked while a thread had
 * the switch set, its own parent or another, has inherited it, and clears it unless it is to stay. */
void kernel_switch_in_child(void);

/* Forks are on demand without our doing, or as it stays on since one of ours. */
bool kernel_switch_is_left_on(const struct kernel_place *place);
#endif
