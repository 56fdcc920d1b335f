/* SPDX-License-Identifier: MIT
 *
 * Limits of address space and of data that another process has set for this one by prlimit(2), which no call of this
 * process shows. What the regions reserve counts against them, and could leave no room for the program's own mappings.
 * LIVE memory is not data to the kernel, so the program could have more than the limit allows. So the heap leaves if
 * one of the program's calls fails for lack of memory and there is such a limit, and the call is made again. It also
 * leaves if there is a limit of data, before the program has got more than HEAP_LIMIT_STEP since the limit was set.
 * Then the kernel counts all memory, and refuses what it would refuse to any process. Async-signal-safe; not under the
 * lock.
 */
#include <errno.h>
#include <sys/resource.h>

#include "internal.h"

/* Bytes that may still become data before the next look at the limit. */
static atomic_long unseen = HEAP_LIMIT_STEP;

static bool is_limited(int resource)
{
	struct rlimit64 limit = { RLIM64_INFINITY, RLIM64_INFINITY };

	return sys_call4(SYS_prlimit64, 0, resource, NULL, &limit) == 0 && limit.rlim_cur < HEAP_NO_LIMIT;
}

/* True: the heap is not awake any more. Keeps errno. */
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
