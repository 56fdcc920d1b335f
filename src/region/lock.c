/* SPDX-License-Identifier: MIT
 * Async-signal-safe. The holder of the lock has all signals blocked, so that no handler interrupts it. Under a seccomp
 * filter, which may kill for that call, signals are not blocked: the process has only ordinary memory then, and a
 * handler that interrupts the holder notices that and works without the lock. */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <time.h>

#include "internal.h"

/* 0: free; 1: taken; 2: taken, and a thread may sleep. */
static atomic_int word;
/* Waiting threads. The keeper lets them go first, so that a fork waits for one step of settling at most. */
static atomic_int wanting;

static atomic_bool is_keepers;

static atomic_bool leaves_signals;
/* Held by this thread, which has not blocked signals. */
static _Thread_local volatile bool is_held __attribute__((tls_model("initial-exec")));

/* The keeper was killed in the middle of a step: some of the program's pages are in a place that the program does not
 * know, and it would go on with wrong ones. So it ends. */
static void die_if_torn(void)
{
	if (region_keeper_died() && atomic_load(&is_keepers))
		(void)sys_call2(SYS_kill, sys_call0(SYS_getpid), SIGKILL);
	/* The first process of a PID namespace cannot kill itself. */
	if (region_keeper_died() && atomic_load(&is_keepers))
		(void)sys_call1(SYS_exit_group, 128 + SIGKILL);
}

static void take(void)
{
	int was = 0;

	if (atomic_compare_exchange_strong_explicit(&word, &was, 1, memory_order_acquire, memory_order_relaxed))
		return;
	while (atomic_exchange_explicit(&word, 2, memory_order_acquire) != 0) { /* whatever ended the wait */
		struct timespec moment = { 0, 500000000 };
		if (sys_call4(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, &moment) != -ETIMEDOUT)
			continue;
		die_if_torn();
		if (atomic_load(&is_keepers)) /* and that never waits for itself */
			region_keeper_rouse();
	}
}

static void give(void)
{
	if (atomic_exchange_explicit(&word, 0, memory_order_release) == 2)
		(void)sys_call3(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
}

void region_leave_signals(void)
{
	atomic_store(&leaves_signals, true);
}

void region_take_signals(void)
{
	atomic_store(&leaves_signals, false);
}

bool region_is_amid(void)
{
	return is_held;
}

void region_hold_signals(uint64_t *mask)
{
	uint64_t all = ~0ull;

	if (atomic_load_explicit(&leaves_signals, memory_order_relaxed))
		is_held = true;
	else
		(void)sys_sigprocmask(SIG_BLOCK, &all, mask); /* cannot fail with these arguments */
}

void region_let_signals(const uint64_t *mask)
{
	if (is_held)
		is_held = false;
	else
		(void)sys_sigprocmask(SIG_SETMASK, mask, NULL);
}

void region_lock(uint64_t *mask)
{
	region_hold_signals(mask);
	atomic_fetch_add_explicit(&wanting, 1, memory_order_relaxed);
	take();
	atomic_fetch_sub_explicit(&wanting, 1, memory_order_relaxed);
}

void region_unlock(const uint64_t *mask)
{
	give();
	region_let_signals(mask);
}

bool region_lock_is_keepers(void)
{
	return atomic_load(&is_keepers);
}

void region_lock_as_keeper(void)
{
	for (unsigned tries = 0; region_lock_wanted() && tries < 1000; tries++) {
		struct timespec moment = { 0, 20000 };
		(void)sys_call2(SYS_nanosleep, &moment, NULL);
	}
	take();
	atomic_store(&is_keepers, true);
}

void region_unlock_as_keeper(void)
{
	atomic_store(&is_keepers, false);
	give();
}

void region_lock_renew(void)
{
	atomic_store_explicit(&word, 0, memory_order_relaxed);
	atomic_store_explicit(&wanting, 0, memory_order_relaxed);
	atomic_store_explicit(&is_keepers, false, memory_order_relaxed);
}

bool region_lock_wanted(void)
{
	return atomic_load_explicit(&wanting, memory_order_relaxed) > 0;
}
