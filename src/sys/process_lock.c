/* SPDX-License-Identifier: MIT */
#include "process_lock.h"

#include <linux/futex.h>

#include "syscall.h"

bool process_lock_try(struct process_lock *lock)
{
	int self = (int)sys_call0(SYS_getpid), holder = 0;

	while (!atomic_compare_exchange_weak_explicit(&lock->holder, &holder, self, memory_order_acquire, memory_order_relaxed))
		if (holder == self)
			return false;
	return true;
}

void process_lock_wait(struct process_lock *lock)
{
	int self = (int)sys_call0(SYS_getpid);

	while (!process_lock_try(lock)) /* every way in which the wait ends means: try again */
		(void)sys_call4(SYS_futex, &lock->holder, FUTEX_WAIT_PRIVATE, self, NULL);
}

void process_lock_release(struct process_lock *lock)
{
	atomic_store_explicit(&lock->holder, 0, memory_order_release);
	(void)sys_call3(SYS_futex, &lock->holder, FUTEX_WAKE_PRIVATE, 1);
}
