/* SPDX-License-Identifier: MIT
 *
 * The argument of rt_sigaction, for code that sets a handler without libc. Does not include <signal.h>, so that a test
 * can compare it with the kernel's header.
 */
#ifndef ODF_SYS_ACTION_H
#define ODF_SYS_ACTION_H

#include <stdint.h>

/* `restorer` is a member wherever the kernel knows SA_RESTORER, also where the kernel has a return trampoline of its
 * own and no program sets one, as on AArch64. */
#if !defined __riscv && !defined __loongarch__
#define ACTION_HAS_RESTORER 1
#else
#define ACTION_HAS_RESTORER 0
#endif

struct kernel_action {
	uintptr_t handler; /* a function of one argument, or of three with SA_SIGINFO */
	unsigned long flags;
#if ACTION_HAS_RESTORER
	uintptr_t restorer;
#endif
	uint64_t mask;
};
#endif
