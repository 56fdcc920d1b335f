/* SPDX-License-Identifier: MIT
 *
 * On-demand fork of the kernel: whether it is offered, by which switch, and whether it keeps data. Whether it is
 * offered is asked when the library is loaded, by two opens. Whether data is kept is tried out in disposable
 * processes (kernel_trial.h): when the library is loaded, if it is offered and the trial can disturb nobody, and when
 * the program asks; never on the path of a fork, which may be in a signal handler.
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
	odf_kernel_interface interface; /* as the place alone tells: not which of the two that USE_ODF may be */
	const char *path;
	uint64_t cgroup; /* of a switch of a memory cgroup: a mark of the one that the path is in; else 0 */
};

/* Its child copies the page tables, while the parent continues. */
static inline bool kernel_is_async(odf_kernel_interface interface)
{
	return interface == ODF_KERNEL_INTERFACE_ASYNC_FORK || interface == ODF_KERNEL_INTERFACE_ASYNC_FORK_MODULE ||
	       interface == ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL;
}

/* NULL: not offered, as far as was asked. Constant once it is. Async-signal-safe. */
const struct kernel_place *kernel_place(void);

/* Why it is not offered; ODF_REASON_NONE where it is. Async-signal-safe. */
odf_reason kernel_offer_reason(void);

/* Where it is offered: why it is not taken unless asked for by name. ODF_REASON_NONE if it was seen to keep data, or
 * if somebody stands for it (ODFORK_KERNEL=safe). Async-signal-safe. */
odf_reason kernel_doubt(void);

/* Whether forks of this process are on demand as it is, whoever has turned that on. Async-signal-safe. */
bool kernel_is_on(void);

/* The first byte of the switch's file, or minus an errno value. Async-signal-safe. */
int kernel_read_bit(const char *path);
/* Whether such a byte says that every fork is on demand. */
bool kernel_bit_is_on(odf_kernel_interface interface, int bit);
/* Throws the switch, or throws it back: 0 or minus an errno value. Async-signal-safe. */
int kernel_throw(odf_kernel_interface interface, const char *path, bool on);

/* The probes of memory.async_fork and of kernel.async_fork_enabled. */
int kernel_probe_async_fork(void);
int kernel_probe_async_fork_prctl(void);

/* What the constructor asks. */
void kernel_ask_early(void);

/* Asks for everything, and tries it out unless that was done, or somebody's word is there (`anyway`: all the same). 0
 * or an errno value: it could not be tried out. EBUSY: forks of this process are on demand. */
int kernel_ask(bool anyway);

/* As it behaved, if it was tried out; otherwise as its place alone tells. */
odf_kernel_interface kernel_interface(void);
#endif
