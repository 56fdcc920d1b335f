/* SPDX-License-Identifier: MIT
 * How many watch each probe: counted by the kernel, in memory that is each process's own. */
#include "trace.h"

#if HAVE_SDT
unsigned short odfork_fork_semaphore, odfork_spawn_semaphore, odfork_freeze_semaphore, odfork_settle_semaphore,
	odfork_adopt_semaphore, odfork_leave_semaphore;
#endif
