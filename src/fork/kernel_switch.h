/* SPDX-License-Identifier: MIT
 *
 * The switch of an on-demand-fork kernel: set before libc's fork, put back after it. Two interfaces share the file
 * /proc/self/use_odf. With one the bit holds until it is cleared, is inherited and survives exec. With the other
 * writing 1 arms the next clone of any kind, a thread's too; the file reads 0 until then, and writing 0 afterwards
 * succeeds and does nothing. So neither value read back is an error. The third interface is a file of the process's
 * memory cgroup, which other processes share: only a fork that has set it puts it back. The fourth is a prctl.
 *
 * If the kernel was seen to keep data, the switch is put back as it was. On other kernels it stays on after the first
 * fork, in both processes. Seen on 5.6.19: processes that share page tables and have the switch off are killed for
 * lawful calls; with the switch on they are not.
 *
 * The flag belongs to the address space, so a lock serialises its users. A fork in a signal handler must not wait for
 * the thread that it interrupted, so no thread waits: a fork that finds the lock held is an ordinary one.
 * Async-signal-safe.
 */
#ifndef ODF_FORK_KERNEL_SWITCH_H
#define ODF_FORK_KERNEL_SWITCH_H

#include <stdbool.h>

#include "../capability/kernel.h"

struct kernel_switch {
	const struct kernel_place *place;
	bool was_set; /* it was set before this fork, and is left alone */
	bool stays;   /* not put back after a successful fork */
	bool ours;    /* this fork holds the lock, and has to put the switch back */
};

/* ODF_REASON_NONE: the switch is set. Otherwise the reason; nothing was changed. The parent must call
 * kernel_switch_put_back in either case. */
odf_reason kernel_switch_set(struct kernel_switch *state, const struct kernel_place *place, bool keeps_data);

/* In the parent. `forked`: the fork has succeeded. */
void kernel_switch_put_back(const struct kernel_switch *state, bool forked);

/* In the child of each fork, if the kernel offers on-demand fork. While a thread has the switch set, the children of
 * all threads inherit it; such a child clears it, unless it is to stay. */
void kernel_switch_in_child(void);

/* Forks are on demand without a fork of ours under way: the program set the switch, or it stays on after one of
 * ours. */
bool kernel_switch_is_left_on(const struct kernel_place *place);
#endif
