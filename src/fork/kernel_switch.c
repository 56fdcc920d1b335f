/* SPDX-License-Identifier: MIT
 * Async-signal-safe: system calls and atomic variables. */
#include "kernel_switch.h"

#include "../capability/async_fork.h"
#include "../sys/process_lock.h"
#include "../sys/syscall.h"

/* Held from before the switch is thrown until after it is thrown back: a child that finds its copy held may have
 * inherited it. */
static struct process_lock busy;
/* Written by who holds the lock, before the switch is thrown: where it is to be thrown back in a child; NULL where
 * it is to stay. */
static _Atomic(const struct kernel_place *) to_clear;

odf_reason kernel_switch_set(struct kernel_switch *state, const struct kernel_place *place, bool keeps_data)
{
	bool use_odf = place->interface == ODF_KERNEL_INTERFACE_USE_ODF;
	odf_reason reason = ODF_REASON_KERNEL_REFUSED;
	int bit;

	*state = (struct kernel_switch){ .place = place };
	if (!process_lock_try(&busy))
		return ODF_REASON_KERNEL_BUSY;
	bit = kernel_read_bit(place->path);
	state->was_set = kernel_bit_is_on(place->interface, bit);
	state->stays = use_odf && !keeps_data;
	/* Other processes have the cgroup's bit in use: it is not a child's to clear. Of one by prctl a child gets
	 * nothing. */
	atomic_store(&to_clear, state->was_set || state->stays || !use_odf ? NULL : place);
	if (place->cgroup != 0 && async_fork_cgroup() != place->cgroup) {
		bit = -ENOENT;
		reason = ODF_REASON_KERNEL_CGROUP;
	}
	if (bit < 0 || (!state->was_set && kernel_throw(place->interface, place->path, true) != 0)) {
		atomic_store(&to_clear, NULL);
		process_lock_release(&busy);
		return reason;
	}
	state->ours = true;
	return ODF_REASON_NONE;
}

void kernel_switch_put_back(const struct kernel_switch *state, bool forked)
{
	if (!state->ours)
		return;
	/* A failure leaves on-demand fork on, which stays correct for later forks of this process as far as it is at
	 * all, and there is nobody to report it to: the fork itself has succeeded. */
	if (!state->was_set && !(state->stays && forked))
		(void)kernel_throw(state->place->interface, state->place->path, false);
	atomic_store(&to_clear, NULL);
	process_lock_release(&busy);
}

void kernel_switch_in_child(void)
{
	const struct kernel_place *place;

	if (atomic_load_explicit(&busy.holder, memory_order_relaxed) == 0)
		return;
	place = atomic_load(&to_clear);
	if (place != NULL)
		(void)kernel_throw(place->interface, place->path, false);
	atomic_store(&to_clear, NULL);
	process_lock_release(&busy);
}

bool kernel_switch_is_left_on(const struct kernel_place *place)
{
	bool use_odf = place->interface == ODF_KERNEL_INTERFACE_USE_ODF;

	/* Where a thread has thrown it for a moment, it is not. */
	if (use_odf ? atomic_load(&to_clear) != NULL : atomic_load(&busy.holder) != 0)
		return false;
	return kernel_is_on() && (place->cgroup == 0 || async_fork_cgroup() == place->cgroup);
}
