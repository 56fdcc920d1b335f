/* SPDX-License-Identifier: MIT
 *
 * The disposable processes that try a kernel's on-demand fork. They run on a copy of the caller's memory, which may be
 * in any state: raw system calls only, and memory of their own.
 */
#ifndef ODF_CAPABILITY_KERNEL_TRIAL_H
#define ODF_CAPABILITY_KERNEL_TRIAL_H

#include "odfork.h"

/* Small enough for one write to a pipe. */
struct kernel_trial_result {
	int error;                      /* errno value: the trial could not be made; 0: it was made, or: */
	int refused;                    /* errno value: setting the switch failed */
	odf_kernel_interface interface; /* as the kernel behaved */
	unsigned passed, failed;        /* 1 << odf_kernel_check */
	/* bytes of page tables of the process that forked, and of its child. 0 where /proc does not say */
	size_t tables, child_tables;
};

/* For pages of 4096 bytes. Runs in the trial's first process, which a plain clone made with all signals blocked: it
 * forks on demand, compares what both processes then see, writes a struct kernel_trial_result to `report`, and exits.
 * `parent` is the caller's pid. */
__attribute__((noreturn)) void kernel_trial(odf_kernel_interface interface, const char *path, int report, int parent);
#endif
