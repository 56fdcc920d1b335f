/* SPDX-License-Identifier: MIT
 *
 * Async-signal-safe: system calls and atomic variables only.
 */
#include "kernel_switch.h"

#include "../capability/async_fork.h"
#include "../sys/process_lock.h"
#include "../sys/syscall.h"

/* Held while the switch is set for one fork. A child that finds its copy held may have inherited the switch. */
static struct process_lock busy;
/* The switch that a child has to clear; NULL: none, or it stays set. The lock's holder writes it before the switch. */
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
	/* Other processes use the cgroup's switch, so a child must not clear it. A switch by prctl is not inherited. */
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
	/* A failure leaves on-demand fork on. Later forks of this process are then as correct as the kernel makes them,
	 * and this fork has succeeded, so there is nothing to report. */
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

	/* Set by a thread for one fork does not count. */
	if (use_odf ? atomic_load(&to_clear) != NULL : atomic_load(&busy.holder) != 0)
		return false;
	return kernel_is_on() && (place->cgroup == 0 || async_fork_cgroup() == place->cgroup);
}
