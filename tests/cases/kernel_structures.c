/* SPDX-License-Identifier: MIT
 *
 * Checks at compile time that a structure that differs between architectures is as in this one's kernel headers. There
 * is nothing to run.
 */
#include <asm/signal.h> /* and so no header of libc that includes <signal.h> */
#include <stddef.h>

#include "../../src/sys/action.h"

_Static_assert(offsetof(struct kernel_action, flags) == offsetof(struct sigaction, sa_flags) &&
		       offsetof(struct kernel_action, mask) == offsetof(struct sigaction, sa_mask),
	       "what rt_sigaction takes");
