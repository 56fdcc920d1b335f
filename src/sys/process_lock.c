/* SPDX-License-Identifier: MIT */
#include "process_lock.h"

#include <errno.h>
#include <linux/futex.h>

#include "syscall.h"

static bool is_thread_of_ours(int id)
{
	return sys_call3(SYS_tgkill, sys_call0(SYS_getpid), id, 0) != -ESRCH;
}

bool process_lock_try_free(struct process_lock *lock)
{
	int self = (int)sys_call0(SYS_gettid), holder = 0;

	return atomic_compare_exchange_strong_explicit(&lock->holder, &holder, self, memory_order_acquire,
						       memory_order_relaxed);
}

bool process_lock_try(struct process_lock *lock)
{
	int self = (int)sys_call0(SYS_gettid), holder = 0;

	while (!atomic_compare_exchange_weak_explicit(&lock->holder, &holder, self, memory_order_acquire,
						      memory_order_relaxed))
		if (holder != 0 && is_thread_of_ours(holder))
			return false;
	return true;
}

void process_lock_wait(struct process_lock *lock)
{
	int self = (int)sys_call0(SYS_gettid);

	while (!process_lock_try(lock)) {
		int holder = atomic_load_explicit(&lock->holder, memory_order_acquire);
		if (holder == self) /* a stale holder that has this thread's id by chance: a thread that waits does not
		                       hold the lock */
			return;
		/* The lock is free by now. A futex wait on 0 would last until another thread takes and releases the
		 * lock, perhaps for ever. */
		if (holder == 0)
			continue;
		/* However the wait ends, try again. */
		(void)sys_call4(SYS_futex, &lock->holder, FUTEX_WAIT_PRIVATE, holder, NULL);
	}
}

void process_lock_release(struct process_lock *lock)
{
	atomic_store_explicit(&lock->holder, 0, memory_order_release);
	(void)sys_call3(SYS_futex, &lock->holder, FUTEX_WAKE_PRIVATE, 1);
}
