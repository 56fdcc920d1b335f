/* SPDX-License-Identifier: MIT
 *
 * How the program ends its keeper. The keeper may be stopped, or held by a debugger (pidof finds two processes). So a
 * thread that waits in vain sends it SIGCONT, and a process that ends does not wait long. Async-signal-safe.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "keeper.h"

/* How long a process that ends waits for its keeper's end, in tenths of a second. */
#define WAITS_AT_THE_END 10u

/* Each takes 50 us or more. Bounded, as another process may have the keeper's id by then. */
#define LOOKS_FOR_ABSENCE 2000u

/* A keeper that the kernel reaps (CLONE_AUTOREAP) stops being a child a moment before it stops counting as a
 * process. */
static void see_it_go(void)
{
	struct timespec moment = { 0, 50000 };

	for (unsigned looks = 0; looks < LOOKS_FOR_ABSENCE; looks++) {
		if (sys_call3(SYS_tgkill, keeper_process.id, keeper_process.id, 0) == -ESRCH)
			return;
		(void)sys_call2(SYS_nanosleep, &moment, NULL);
	}
}

static long wait_for_it(int options)
{
	options |= keeper_process.goes_by_itself ? __WALL : __WCLONE;
	return sys_call4(SYS_wait4, keeper_process.id, NULL, options, NULL);
}

void region_keeper_rouse(void)
{
	int id = atomic_load(&keeper.id);

	if (id != 0)
		(void)sys_call3(SYS_tgkill, id, id, SIGCONT);
}

/* The kernel clears the word when the keeper no longer uses this memory. False: it has not in time. */
static bool see_it_let_go(unsigned waits)
{
	int id;

	while ((id = atomic_load(&keeper.id)) != 0) {
		struct timespec moment = { 0, 100000000 };
		if (sys_call4(SYS_futex, &keeper.id, FUTEX_WAIT, id, &moment) != -ETIMEDOUT)
			continue;
		if (waits-- == 0)
			return false;
		region_keeper_rouse();
	}
	return true;
}

/* Waits for the keeper's end and reaps it. `had_gone`: it had ended before it was told to, and is reaped: its id may be
 * that of another child by now. False: it is still there. */
static bool reap(bool had_gone, unsigned waits)
{
	long waited = had_gone ? keeper_process.id : -EINTR;

	if (!see_it_let_go(waits))
		return false;
	while (waited == -EINTR)
		waited = wait_for_it(0);
	if (keeper_process.goes_by_itself && waited < 0)
		see_it_go();
	(void)region_unmap(keeper_process.block, keeper_process.block_size);
	keeper_process.block = NULL;
	if (keeper_settler.desk != NULL)
		(void)region_unmap(keeper_settler.desk, KEEPER_DESK_SIZE);
	keeper_settler.desk = NULL;
	region_keeper_forget();
	return true;
}

void keeper_reap(void)
{
	(void)reap(false, UINT_MAX);
}

bool region_keeper_is_ours(void)
{
	return region_keeper_runs() && sys_call0(SYS_getpid) == keeper_process.program;
}

static bool tell_and_reap(unsigned waits)
{
	bool had_gone = keeper_process.goes_by_itself && region_keeper_died();
	long waited = had_gone ? keeper_process.id : wait_for_it(WNOHANG);

	/* The keeper is another process's: the caller is a child that runs on its parent's memory, and may have the
	 * parent's id in a PID namespace of its own. */
	if (waited == -ECHILD && atomic_load(&keeper.id) != 0)
		return false;
	atomic_store(&keeper.leaves, true);
	region_keeper_call();
	return reap(waited == keeper_process.id, waits);
}

/* A child has no keeper to stop, and the noted id is not its own keeper's. */
static bool stop(unsigned waits)
{
	uint64_t all = ~0ull, mask;
	bool stopped;

	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	stopped = !region_keeper_runs() || tell_and_reap(waits);
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	return stopped;
}

void region_keeper_stop(void)
{
	keeper_lock_orders();
	(void)stop(UINT_MAX);
	keeper_unlock_orders();
}

/* The process ends, and before it the keeper, so that the process that adopts orphans has none of ours to wait for. Not
 * in a child that the library has not noticed yet, nor in one that runs on its parent's memory (vfork), where a thread
 * of the parent may hold the lock. A keeper that a debugger holds is not waited for long: it finds out by itself that
 * the program has ended. Nor is it waited for twice: exit calls this by a destructor, and by _exit. */
void region_process_ends(void)
{
	int saved = errno;

	if (region_keeper_is_ours() && !atomic_load(&keeper.leaves) && keeper_lock_free_orders()) {
		(void)stop(WAITS_AT_THE_END);
		keeper_unlock_orders();
	}
	errno = saved;
}

__attribute__((destructor(101))) static void end_before_the_program(void)
{
	region_process_ends();
}

bool region_keeper_stop_now(void)
{
	bool stopped;

	if (!keeper_try_lock_orders())
		return false;
	stopped = stop(UINT_MAX);
	keeper_unlock_orders();
	return stopped;
}
