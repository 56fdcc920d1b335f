/* SPDX-License-Identifier: MIT
 *
 * A structure that differs from one architecture to another is as the kernel's header for this one says. Nothing to
 * run: what is wrong does not compile. */
#include <asm/signal.h> /* and so nothing of libc's that includes <signal.h> */
#include <stddef.h>

#include "../../src/sys/action.h"

_Static_assert(offsetof(struct kernel_action, flags) == offsetof(struct sigaction, sa_flags) &&
		       offsetof(struct kernel_action, mask) == offsetof(struct sigaction, sa_mask),
	       "what rt_sigaction takes");
