/* SPDX-License-Identifier: MIT
 *
 * On-demand fork of the kernel: whether it is offered, by which switch, and whether it keeps data. The constructor asks
 * whether it is offered, by two opens. Disposable processes try whether data is kept (kernel_trial.h): from the
 * constructor, if it is offered and the trial disturbs no other process, and when the program asks; never on the path
 * of a fork, which may be in a signal handler.
 */
#ifndef ODF_CAPABILITY_KERNEL_H
#define ODF_CAPABILITY_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "odfork.h"

#define USE_ODF_PATH "/proc/self/use_odf"

#define ASYNC_FORK_SYSCTL_PATH "/proc/sys/kernel/async_fork_enabled"

/* Where the switch is. */
struct kernel_place {
	odf_kernel_interface interface; /* as the path tells: not which of the two USE_ODF interfaces it is */
	const char *path;
	uint64_t cgroup; /* for the switch of a memory cgroup, a mark of that cgroup; else 0 */
};

/* The child copies the page tables while the parent continues. */
static inline bool kernel_is_async(odf_kernel_interface interface)
{
	return interface == ODF_KERNEL_INTERFACE_ASYNC_FORK || interface == ODF_KERNEL_INTERFACE_ASYNC_FORK_MODULE ||
	       interface == ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL;
}

/* NULL: not offered, as far as known. Does not change once it is not NULL. Async-signal-safe. */
const struct kernel_place *kernel_place(void);

/* Why it is not offered; ODF_REASON_NONE if it is. Async-signal-safe. */
odf_reason kernel_offer_reason(void);

/* If it is offered, why it is not taken unless asked for by name. ODF_REASON_NONE if a trial has seen it keep data, or
 * the user says that it does (ODFORK_KERNEL=safe). Async-signal-safe. */
odf_reason kernel_doubt(void);

/* Forks of this process are on demand already, whatever has turned that on. Async-signal-safe. */
bool kernel_is_on(void);

/* The first byte of the switch's file, or minus an errno value. Async-signal-safe. */
int kernel_read_bit(const char *path);
/* Such a byte says that every fork is on demand. */
bool kernel_bit_is_on(odf_kernel_interface interface, int bit);
/* Sets or clears the switch. 0 or minus an errno value. Async-signal-safe. */
int kernel_throw(odf_kernel_interface interface, const char *path, bool on);

/* Probes of memory.async_fork and of kernel.async_fork_enabled. */
int kernel_probe_async_fork(void);
int kernel_probe_async_fork_prctl(void);

/* The questions of the constructor. */
void kernel_ask_early(void);

/* Asks everything, and tries the kernel unless that was done, or the user has given the answer (`anyway`: even then). 0
 * or an errno value: the kernel could not be tried. EBUSY: forks of this process are on demand. */
int kernel_ask(bool anyway);

/* As the kernel behaved, if it was tried; otherwise as the path alone tells. */
odf_kernel_interface kernel_interface(void);
#endif
