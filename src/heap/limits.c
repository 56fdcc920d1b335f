/* SPDX-License-Identifier: MIT
 *
 * Limits of address space and of data that somebody else has set for this process, by prlimit(2), which no call of
 * its own tells of. What the regions reserve counts against them and would leave no room for the program's own
 * mappings; and what is LIVE is no data for the kernel, so that the program could have more than the limit allows. So
 * the heap leaves: when one of the program's calls fails for want of memory and there is such a limit, and the call is
 * made again; and where there is a limit of data, before the program has got more than HEAP_LIMIT_STEP of it since.
 * Then the kernel counts all of it, and refuses what it would refuse to any process. Async-signal-safe; not under the
 * lock.
 */
#include <errno.h>
#include <sys/resource.h>

#include "internal.h"

/* What may still become data before the limit is looked at again. */
static atomic_long unseen = HEAP_LIMIT_STEP;

static bool is_limited(int resource)
{
	struct rlimit64 limit = { RLIM64_INFINITY, RLIM64_INFINITY };

	return sys_call4(SYS_prlimit64, 0, resource, NULL, &limit) == 0 && limit.rlim_cur < HEAP_NO_LIMIT;
}

/* True: it is not awake any more. errno is left alone. */
static bool leave(void)
{
	int saved = errno;

	heap_leave(ODF_REASON_HEAP_LIMIT);
	errno = saved;
	return heap_state() != ODF_HEAP_AWAKE;
}

bool heap_makes_room(void)
{
	return heap_state() == ODF_HEAP_AWAKE && (is_limited(RLIMIT_AS) || is_limited(RLIMIT_DATA)) && leave();
}

void heap_before_data(size_t bytes)
{
	if (heap_state() != ODF_HEAP_AWAKE)
		return;
	if (bytes < HEAP_LIMIT_STEP &&
	    atomic_fetch_sub_explicit(&unseen, (long)bytes, memory_order_relaxed) > (long)bytes)
		return;
	atomic_store_explicit(&unseen, HEAP_LIMIT_STEP, memory_order_relaxed);
	if (is_limited(RLIMIT_DATA))
		(void)leave();
}
