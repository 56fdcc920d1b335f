/* SPDX-License-Identifier: MIT
 * Async-signal-safe: system calls and one atomic flag. */
#include "kernel_switch.h"

#include "../capability/async_fork.h"
#include "../sys/process_lock.h"
#include "../sys/syscall.h"

/* Held from before the bit is set until after it is put back: a child that finds its copy held may have inherited the bit. */
static struct process_lock busy;
/* Written by who holds the lock, before the bit is set: where it is to be cleared in a child; NULL where it is to stay. */
static const struct kernel_place *volatile to_clear;

odf_reason kernel_switch_set(struct kernel_switch *state, const struct kernel_place *place)
{
	odf_reason reason = ODF_REASON_KERNEL_REFUSED;
	int bit;

	*state = (struct kernel_switch){ .place = place };
	if (!process_lock_try(&busy))
		return ODF_REASON_KERNEL_BUSY;
	bit = kernel_read_bit(place->path);
	state->was_set = bit == '1';
	/* Other processes have the cgroup's bit in use: it is not a child's to clear. */
	to_clear = state->was_set || place->interface == ODF_KERNEL_INTERFACE_ASYNC_FORK ? NULL : place;
	if (place->interface == ODF_KERNEL_INTERFACE_ASYNC_FORK && async_fork_cgroup() != place->cgroup) {
		bit = -ENOENT;
		reason = ODF_REASON_KERNEL_CGROUP;
	}
	if (bit < 0 || (!state->was_set && kernel_write_bit(place->path, '1') != 0)) {
		to_clear = NULL;
		process_lock_release(&busy);
		return reason;
	}
	state->ours = true;
	return ODF_REASON_NONE;
}

void kernel_switch_put_back(const struct kernel_switch *state)
{
	if (!state->ours)
		return;
	/* A failure leaves on-demand fork on, which stays correct for later forks of this process as far as it is at all, and
	 * there is nobody to report it to: the fork itself has succeeded. */
	if (!state->was_set)
		(void)kernel_write_bit(state->place->path, '0');
	to_clear = NULL;
	process_lock_release(&busy);
}

void kernel_switch_in_child(void)
{
	if (atomic_load_explicit(&busy.holder, memory_order_relaxed) == 0)
		return;
	if (to_clear != NULL)
		(void)kernel_write_bit(to_clear->path, '0');
	to_clear = NULL;
	process_lock_release(&busy);
}
