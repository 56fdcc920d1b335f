/* SPDX-License-Identifier: MIT
 * The number of tracers of each probe, which the kernel counts in this process's memory. */
#include "trace.h"

#if HAVE_SDT
unsigned short odfork_fork_semaphore, odfork_spawn_semaphore, odfork_freeze_semaphore, odfork_settle_semaphore,
	odfork_adopt_semaphore, odfork_leave_semaphore;
#endif
