/* SPDX-License-Identifier: MIT
 *
 * A limit of address space that somebody else has set for this process, by prlimit(2), which no call of its own tells
 * of. What the regions reserve counts against it and would leave no room for the program's own mappings. So when one
 * of the program's calls fails for want of memory, the heap leaves, if there is such a limit, and the call is made
 * again. Async-signal-safe; not under the lock.
 */
#include <errno.h>
#include <sys/resource.h>

#include "internal.h"

bool heap_makes_room(void)
{
	struct rlimit64 limit = { RLIM64_INFINITY, RLIM64_INFINITY };
	int saved = errno;

	if (heap_state() != ODF_HEAP_AWAKE || sys_call4(SYS_prlimit64, 0, RLIMIT_AS, NULL, &limit) < 0 || limit.rlim_cur >= HEAP_NO_LIMIT)
		return false;
	heap_leave(ODF_REASON_HEAP_LIMIT);
	errno = saved;
	return heap_state() != ODF_HEAP_AWAKE;
}
