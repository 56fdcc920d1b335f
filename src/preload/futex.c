/* SPDX-License-Identifier: MIT
 *
 * Futexes by syscall(). The kernel's key of a word that is not private is the page's owner: the region's file while the
 * region is LIVE, the process while it is not. A wake under one key does not find a sleeper under the other. And an
 * operation that changes its word in the kernel fails with EFAULT in memory that is being settled. So each operand of
 * such a call is taken out of its region for good, before the call.
 */
#include "syscall.h"

#if PRELOAD_HAS_SYSCALL
#include <linux/futex.h>
#include <stdint.h>

#include "../heap/heap.h"
#include "../sys/readable.h"

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13 /* Linux 5.14 */
#endif

static void keep(long address)
{
	heap_keep((const void *)address, sizeof(uint32_t)); /* the second word of some is in the same page */
}

bool syscall_look_at_futex(const long w[6])
{
	bool shared = (w[1] & FUTEX_PRIVATE_FLAG) == 0, first = shared, second = false;

	switch (w[1] & FUTEX_CMD_MASK) {
	case FUTEX_REQUEUE:
	case FUTEX_CMP_REQUEUE:
		second = shared;
		break;
	case FUTEX_WAKE_OP:
	case FUTEX_WAIT_REQUEUE_PI:
	case FUTEX_CMP_REQUEUE_PI:
		second = true; /* the kernel changes it */
		break;
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
	case FUTEX_UNLOCK_PI:
	case FUTEX_TRYLOCK_PI:
		first = true;
		break;
	default:
		break;
	}
	if (first)
		keep(w[0]);
	if (second)
		keep(w[4]);
	return false;
}

/* ---- The newer calls ---- */

#define IS_PRIVATE   128 /* FUTEX2_PRIVATE */
#define WAITERS_MOST 128

struct waiter {
	uint64_t value, address;
	uint32_t flags, reserved;
};
_Static_assert(sizeof(struct waiter) == 24, "a list of the kernel's");

static void keep_each(long address, unsigned count)
{
	const struct waiter *list = (const struct waiter *)address;

	if (count > WAITERS_MOST || !sys_is_readable(list, count * sizeof *list))
		return;
	for (unsigned i = 0; i < count; i++)
		if (!(list[i].flags & IS_PRIVATE))
			keep((long)list[i].address);
}

bool syscall_look_at_futex_waitv(const long w[6])
{
	keep_each(w[0], (unsigned)w[1]);
	return false;
}

bool syscall_look_at_futex_requeue(const long w[6])
{
	keep_each(w[0], 2);
	return false;
}

/* futex_wake and futex_wait: both have the flags as the same argument. */
bool syscall_look_at_futex2(const long w[6])
{
	if (!(w[3] & IS_PRIVATE))
		keep(w[0]);
	return false;
}
#endif
