/* SPDX-License-Identifier: MIT
 *
 * What rt_sigaction takes, for code that sets a handler without libc. Without <signal.h>, so that a test can hold it
 * beside the kernel's own header.
 */
#ifndef ODF_SYS_ACTION_H
#define ODF_SYS_ACTION_H

#include <stdint.h>

/* The way back from the handler is a member wherever the kernel knows SA_RESTORER, also where it brings a way of its
 * own and nobody sets one, as on AArch64. */
#if !defined __riscv && !defined __loongarch__
#define ACTION_HAS_RESTORER 1
#else
#define ACTION_HAS_RESTORER 0
#endif

struct kernel_action {
	uintptr_t handler; /* of one argument, or of three with SA_SIGINFO */
	unsigned long flags;
#if ACTION_HAS_RESTORER
	uintptr_t restorer;
#endif
	uint64_t mask;
};
#endif
