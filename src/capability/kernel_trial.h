/* SPDX-License-Identifier: MIT
 *
 * The disposable processes in which a kernel's on-demand fork is tried. They run on a copy of the caller's memory, in
 * which nothing may be relied on: raw system calls only, and memory of their own.
 */
#ifndef ODF_CAPABILITY_KERNEL_TRIAL_H
#define ODF_CAPABILITY_KERNEL_TRIAL_H

#include "odfork.h"

/* The results fit in a pipe at once. */
struct kernel_trial_result {
	int error;                      /* errno value of what kept the trial from being made; 0: it was made, or: */
	int refused;                    /* errno value with which the switch was refused */
	odf_kernel_interface interface; /* as it behaved */
	unsigned passed, failed;        /* 1 << odf_kernel_check */
	/* bytes of page tables: of the process that forked, of its child. 0 where /proc does not say */
	size_t tables, child_tables;
};

/* For pages of 4096 bytes. The first of the two, made by a plain clone with all signals blocked: forks on demand,
 * looks at what both processes then see, writes a struct kernel_trial_result to `report`, and ends. `parent` is the
 * caller's pid. */
__attribute__((noreturn)) void kernel_trial(odf_kernel_interface interface, const char *path, int report, int parent);
#endif
